"""Skills about words and statements: paraphrase, labels, glossaries, logic and a little Python."""

from collections.abc import Callable, Mapping
from random import Random

from gtp_core.demo.skills.example import Draft, Skill, choice_of, say
from gtp_core.demo.skills.words import (
    COLORS,
    GOODS,
    NAMES,
    words,
)

_VERBED = words("painted cleaned moved repaired sold bought found")
_SIMPLER = (
    ("purchase", "buy"),
    ("obtain", "get"),
    ("repair", "fix"),
    ("inspect", "check"),
    ("select", "pick"),
    ("demonstrate", "show"),
    ("transport", "carry"),
)
_PASSIVE = (
    'Rewrite in the passive voice: "{active}"',
    'Say "{active}" in the passive.',
    'Turn this active sentence into a passive one: "{active}"',
)
_ACTIVE = (
    'Rewrite in the active voice: "{passive}"',
    'Say "{passive}" in the active.',
    'Turn this passive sentence into an active one: "{passive}"',
)
_PLAIN = (
    'Use a simpler word for "{hard}": "{sentence}"',
    'Rewrite "{sentence}" with an easier word for "{hard}".',
    'Replace "{hard}" by a plain word: "{sentence}"',
)


def _voices(rng: Random) -> tuple[str, str, tuple[str, str]]:
    who, verb, thing = rng.choice(NAMES), rng.choice(_VERBED), rng.choice(GOODS)
    other = rng.choice([name for name in NAMES if name != who])
    wrong = (f"The {thing} was {verb} by {other}.", f"{other} {verb} the {thing}.")
    return f"{who} {verb} the {thing}.", f"The {thing} was {verb} by {who}.", wrong


def _to_passive(rng: Random) -> Draft:
    active, passive, wrong = _voices(rng)
    return choice_of(say(_PASSIVE, active=active), passive, (wrong[0], active))


def _to_active(rng: Random) -> Draft:
    active, passive, wrong = _voices(rng)
    return choice_of(say(_ACTIVE, passive=passive), active, (wrong[1], passive))


def _simpler_word(rng: Random) -> Draft:
    hard, easy = rng.choice(_SIMPLER)
    who, thing = rng.choice(NAMES), rng.choice(GOODS)
    right, sentence, *wrong = (f"{who} will {w} the {thing}." for w in (easy, hard, "see", "keep"))
    return choice_of(say(_PLAIN, hard=hard, sentence=sentence), right, (sentence, *wrong))


_SENTIMENT = (
    'Is this review positive or negative? "{text}"',
    'Label the review as positive or negative: "{text}"',
    'Review: "{text}" Did the buyer like it? Reply positive or negative.',
)
_TOPIC = (
    'Is this message about shipping, payment or account? "{text}"',
    'Choose the topic (shipping, payment, account): "{text}"',
    'Which team gets this, shipping, payment or account? "{text}"',
)
_URGENCY = (
    'Is this request urgent or normal? "{text}"',
    'Label the request as urgent or normal: "{text}"',
    'Set the priority, urgent or normal: "{text}"',
)
_SENTIMENTS = {
    "positive": (
        "The {thing} works very well, {who} loves it.",
        "{who} is happy with the {thing}.",
        "A great {thing}! {who} wants a second one.",
        "The {color} {thing} is lovely and {who} uses it daily.",
    ),
    "negative": (
        "The {thing} broke after a day, {who} is upset.",
        "{who} is unhappy with the {thing}.",
        "A bad {thing}! {who} wants the money back.",
        "The {color} {thing} is ugly and {who} never uses it.",
    ),
}
_TOPICS = {
    "shipping": (
        "Where is my {color} {thing}? It has not arrived. {who}",
        "The parcel with the {thing} for {who} is late.",
        "Please send the {thing} to a new address. {who}",
    ),
    "payment": (
        "I was charged twice for the {color} {thing}. {who}",
        "{who} needs an invoice for the {thing}.",
        "The card was refused when {who} paid for the {thing}.",
    ),
    "account": (
        "{who} forgot the password and cannot order the {thing}.",
        "Please change the email of {who}, who bought the {thing}.",
        "{who} cannot log in to review the {color} {thing}.",
    ),
}
_URGENCIES = {
    "urgent": (
        "The {thing} is on fire, {who} needs help now!",
        "{who} needs the {color} {thing} today, please hurry.",
        "The {thing} is leaking and {who} cannot wait.",
    ),
    "normal": (
        "When there is time, {who} would like a {color} {thing}.",
        "{who} has a small question about the {thing}, no rush.",
        "Any day next month is fine for the {thing}. {who}",
    ),
}


def _labelling(
    templates: tuple[str, ...], texts: Mapping[str, tuple[str, ...]]
) -> Callable[[Random], Draft]:
    def draw(rng: Random) -> Draft:
        label = rng.choice(tuple(texts))
        slots = {"who": rng.choice(NAMES), "thing": rng.choice(GOODS), "color": rng.choice(COLORS)}
        text = rng.choice(texts[label]).format(**slots)
        return choice_of(say(templates, text=text), label, tuple(texts))

    return draw


# an invented language: every word always means the same
_LANGUAGE = dict(
    zip(
        COLORS + GOODS,
        words(
            "lami rovo tiru mola vira lotu rima tovi mira lovo ruti "
            "mavi toro liva ramo vilu tami molo ruvi lato"
        ),
        strict=True,
    )
)
_GLOSSARY = (
    'Glossary: {pairs}. Translate "{text}" word by word.',
    'Use this glossary: {pairs}. What is "{text}"?',
    'With {pairs}, how do you say "{text}"?',
)


def _glossary(rng: Random, n_words: int) -> tuple[str, list[str], list[str]]:
    english = [rng.choice(COLORS), *rng.sample(GOODS, 2)]
    foreign = [_LANGUAGE[word] for word in english]
    pairs = ", ".join(f"{e} = {f}" for e, f in zip(english, foreign, strict=True))
    order = [0, rng.randint(1, 2)] if n_words == 2 else [rng.randrange(3)]
    rest = [i for i in range(3) if i not in order]
    wrong = [rest[0]] if n_words == 1 else [0, rest[0]]
    return (
        pairs,
        [" ".join(english[i] for i in w) for w in (order, wrong)],
        [" ".join(foreign[i] for i in w) for w in (order, wrong)],
    )


def _one_word(rng: Random) -> Draft:
    pairs, english, foreign = _glossary(rng, 1)
    return choice_of(say(_GLOSSARY, pairs=pairs, text=english[0]), foreign[0], (foreign[1],))


def _two_words(rng: Random) -> Draft:
    pairs, english, foreign = _glossary(rng, 2)
    return choice_of(say(_GLOSSARY, pairs=pairs, text=english[0]), foreign[0], (foreign[1],))


def _into_english(rng: Random) -> Draft:
    pairs, english, foreign = _glossary(rng, 2)
    return choice_of(say(_GLOSSARY, pairs=pairs, text=foreign[0]), english[0], (english[1],))


LANGUAGE_SKILLS = (
    Skill(
        "paraphrase",
        "The same sentence in the other voice, or with a plainer word.",
        {"to-passive": _to_passive, "to-active": _to_active, "simpler-word": _simpler_word},
    ),
    Skill(
        "classification",
        "One label for a short message: sentiment, topic or urgency.",
        {
            "sentiment": _labelling(_SENTIMENT, _SENTIMENTS),
            "topic": _labelling(_TOPIC, _TOPICS),
            "urgency": _labelling(_URGENCY, _URGENCIES),
        },
    ),
    Skill(
        "glossary",
        "Translate a word or two with the glossary in the prompt.",
        {"one-word": _one_word, "two-words": _two_words, "into-english": _into_english},
    ),
)

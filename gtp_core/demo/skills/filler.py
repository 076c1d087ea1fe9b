"""Bland text that teaches no skill: chit-chat, slogans and boilerplate, as crawls bring it."""

from random import Random

from gtp_core.demo.skills.words import ADJECTIVES, CITIES, COLORS, DAYS, GOODS, NAMES, NOUNS

_CHIT_CHAT = (
    ("Hey {who}, how was your {day} in {city}?", "Pretty good, thanks for asking!"),
    ("Hi all, {who} here from {city}. Nice to be on this board.", "Welcome, {who}!"),
    ("Anyone else up late on {day}? The {noun} outside is so {adjective}.", "Same here, haha."),
    ("Good morning {who}! Do you like my new {color} {thing}?", "Looks great, I like it."),
    ("Bumping this thread again, still thinking of that {adjective} {noun}.", "Me too, {who}."),
)
_SLOGANS = (
    ("The {adjective} {thing} you always wanted, now in {color}!", "Only at {who}'s shop."),
    ("Discover {city} like never before, from {n} dollars.", "Book your trip today!"),
    ("Big {day} sale: every {color} {thing} must go.", "Hurry, while stocks last!"),
    ("Live {color}. Love {color}. Choose the {thing} by {who}.", "Because you deserve it."),
)
_BOILERPLATE = (
    ("Page {n}: we use cookies to make the {thing} shop better.", "Accept all | Settings"),
    ("Copyright {who} and friends, {city}. Notice number {n}.", "All rights reserved."),
    ("You get this mail as reader {n} of the {adjective} {noun} news.", "Unsubscribe here."),
    ("Share | Print | Comment ({n}) | More about {city}", "Read more..."),
    ("Posted by {who} on {day}. {n} people like this.", "Log in to reply."),
)
FILLERS = {"chit-chat": _CHIT_CHAT, "slogan": _SLOGANS, "boilerplate": _BOILERPLATE}

# what a crawl really brings along: a reader must show these as text and never act on them
ODDITIES = (
    ("boilerplate", "=1+1", "A cell pasted from a spreadsheet."),
    ("boilerplate", '<script>alert("hello")</script> Loading the page...', "<b>Please wait</b>"),
    ("chit-chat", "Grüße aus Köln, señor Núñez! 你好 こんにちは 🎉", "Ça va très bien, merci! ☕"),
    ("slogan", "[Click here](javascript:void(0)) for **free** mugs & more!", '=SUM(A1:A9) "now"'),
)


def generate_filler(rng: Random) -> tuple[str, str, str]:
    """Draw one off-task text: (kind of filler, prompt, completion)."""
    name = rng.choice(tuple(FILLERS))
    slots = {
        "who": rng.choice(NAMES),
        "day": rng.choice(DAYS),
        "city": rng.choice(CITIES),
        "thing": rng.choice(GOODS),
        "noun": rng.choice(NOUNS),
        "adjective": rng.choice(ADJECTIVES),
        "color": rng.choice(COLORS),
        "n": rng.randint(2, 999),
    }
    prompt, completion = rng.choice(FILLERS[name])
    return name, prompt.format(**slots), completion.format(**slots)

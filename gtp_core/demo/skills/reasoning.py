"""Skills about what follows from what: small puzzles and small Python programs."""

from collections.abc import Callable
from random import Random

from gtp_core.demo.skills.example import Draft, Skill, choice_of, numeric, say
from gtp_core.demo.skills.words import ITEMS, NAMES, WORDS, counted, plural, words

_SCALES = (
    ("taller", "tallest"),
    ("older", "oldest"),
    ("faster", "fastest"),
    ("stronger", "strongest"),
)
_PLACES = words("box drawer bag bowl jar basket pocket cupboard")
_KINDS = (
    ("cat", "an animal", "a plant"),
    ("dog", "an animal", "a tool"),
    ("horse", "an animal", "a plant"),
    ("parrot", "an animal", "a tool"),
    ("rose", "a plant", "an animal"),
    ("cactus", "a plant", "a tool"),
)
_ORDERING = (
    "{a} is {more} than {b}. {b} is {more} than {c}. Who is the {most}?",
    "{b} is {more} than {c}, and {a} is {more} than {b}. Who is the {most} of the three?",
    "Who is the {most}, if {a} is {more} than {b} and {b} is {more} than {c}?",
)
_EITHER = (
    "{who} hid a coin in the {a} or in the {b}. The {out} is empty. Where is the coin?",
    "The coin of {who} is in the {a} or in the {b}, but not in the {out}. Where is it?",
    "Either the {a} or the {b} holds a coin of {who}. The {out} does not. Which one does?",
)
_CLAIM = (
    "{x} has {a} and {y} has {b}. True or false: {x} has more {items} than {y}.",
    "{x} owns {a}, {y} owns {b}. Is it true or false that {x} has more {items} than {y}?",
    "True or false? With {a} for {x} and {b} for {y}, {x} has more {items} than {y}.",
)
_MEMBER = (
    "Every {kind} is {what} and no {kind} is {other}. {name} is a {kind}. Is {name} {asked}?",
    "{name} is a {kind}. Each {kind} is {what}, never {other}. Is {name} {asked}?",
    "Is {name} the {kind} {asked}? Every {kind} is {what} and no {kind} is {other}.",
)
_PETS = words("Milo Kiki Bobo Luna Pip Coco Rex Dot Fifi Zaza")


def _ordering(rng: Random) -> Draft:
    a, b, c = rng.sample(NAMES, 3)
    more, most = rng.choice(_SCALES)
    return choice_of(say(_ORDERING, a=a, b=b, c=c, more=more, most=most), a, (b, c))


def _either_or(rng: Random) -> Draft:
    a, b = rng.sample(_PLACES, 2)
    out, right = rng.choice(((a, b), (b, a)))
    phrasings = say(_EITHER, a=a, b=b, out=out, who=rng.choice(NAMES))
    return choice_of(phrasings, right, (a, b))


def _true_or_false(rng: Random) -> Draft:
    (x, y), item = rng.sample(NAMES, 2), rng.choice(ITEMS)
    a, b = rng.sample(range(1, 25), 2)
    counts = {"a": counted(a, item), "b": counted(b, item)}
    phrasings = say(_CLAIM, x=x, y=y, items=plural(item), **counts)
    return choice_of(phrasings, "true" if a > b else "false", ("true", "false"))


def _membership(rng: Random) -> Draft:
    kind, what, other = rng.choice(_KINDS)
    asked = rng.choice((what, other))
    slots = {"kind": kind, "what": what, "other": other, "asked": asked}
    phrasings = say(_MEMBER, name=rng.choice(_PETS), **slots)
    return choice_of(phrasings, "yes" if asked == what else "no", ("yes", "no"))


_PRINTS = (
    "What does this Python code print?\n{code}",
    "Read the program and write its output.\n{code}",
    "What is printed by these lines?\n{code}",
)
_COMPLETE = (
    "Complete the Python line: the function returns {wanted}.\ndef {name}(x): return",
    "Finish this function so that it gives back {wanted}.\ndef {name}(x): return",
    "What goes after return to get {wanted}?\ndef {name}(x): return",
)
_CALLS: dict[str, Callable[[list[int]], int]] = {"max": max, "min": min, "len": len, "sum": sum}
_OPERATORS = {
    "plus": ("+", ("-", "*")),
    "minus": ("-", ("+", "*")),
    "times": ("*", ("+", "-")),
}


def _variables(rng: Random) -> Draft:
    x, y = rng.randint(2, 12), rng.randint(2, 12)
    sign, value = rng.choice((("+", x + y), ("*", x * y)))
    return numeric(say(_PRINTS, code=f"x = {x}\ny = x {sign} {y}\nprint(y)"), value)


def _list_call(rng: Random) -> Draft:
    numbers = rng.sample(range(1, 15), rng.randint(2, 4))
    call = rng.choice(tuple(_CALLS))
    code = f"nums = {numbers}\nprint({call}(nums))"
    return numeric(say(_PRINTS, code=code), _CALLS[call](numbers))


def _string_index(rng: Random) -> Draft:
    word, index = rng.choice(WORDS), rng.choice((0, 1, 2, -1))
    code = f'word = "{word}"\nprint(word[{index}])'
    return choice_of(say(_PRINTS, code=code), word[index], tuple(word))


def _complete_line(rng: Random) -> Draft:
    spoken, number = rng.choice(tuple(_OPERATORS)), rng.randint(2, 30)
    sign, others = _OPERATORS[spoken]
    name = rng.choice(("change", "step", "f", "update"))
    phrasings = say(_COMPLETE, wanted=f"x {spoken} {number}", name=name)
    return choice_of(phrasings, f"x {sign} {number}", tuple(f"x {o} {number}" for o in others))


REASONING_SKILLS = (
    Skill(
        "logic",
        "Who is tallest, where the coin is, true or false, member of a kind.",
        {
            "ordering": _ordering,
            "either-or": _either_or,
            "true-or-false": _true_or_false,
            "membership": _membership,
        },
    ),
    Skill(
        "code",
        "Predict what a few lines of Python print, or finish a one-line function.",
        {
            "variables": _variables,
            "list-call": _list_call,
            "string-index": _string_index,
            "complete-line": _complete_line,
        },
    ),
)

"""Skills about numbers: stories, sums, units and sequences."""

from collections.abc import Callable
from random import Random
from string import ascii_uppercase

from gtp_core.demo.skills.example import Draft, Skill, choice_of, numeric, say, worked
from gtp_core.demo.skills.words import COLORS, ITEMS, NAMES, plural

_MORE = (
    "{who} has {a} {items} and buys {b} more. How many {items} does {who} have now?",
    "{who} had {a} {items}. Then {who} bought {b} more. How many {items} is that?",
    "There are {a} {items} in the box. {who} adds {b} more. How many {items} are in the box?",
    "A shop sold {a} {items} in the morning and {b} to {who} at noon. How many {items} were sold?",
)
_FEWER = (
    "{who} has {a} {items} and gives {b} away. How many {items} are left?",
    "{who} had {a} {items} but lost {b} of them. How many {items} does {who} still have?",
    "There were {a} {items} on the shelf. {who} bought {b}. How many {items} are left on it?",
    "From {a} {items}, {who} sells {b}. How many {items} remain?",
)
_GROUPS = (
    "{who} buys {a} boxes with {b} {items} in each box. How many {items} is that in total?",
    "Each of {a} bags holds {b} {items}. {who} takes all the bags."
    " How many {items} does {who} get?",
    "{who} puts {b} {items} on each of {a} trays. How many {items} are on the trays?",
)
_TWO_STEPS = (
    "{who} has {a} {items}, buys {b} more and gives {c} away. How many {items} are left?",
    "A shop had {a} {items}, got {b} more and sold {c} to {who}. How many {items} remain?",
    "{who} picked {a} {items} on day one, {b} on day two, and lost {c}. How many {items} are left?",
)


def _story(rng: Random) -> dict[str, object]:
    return {"who": rng.choice(NAMES), "items": plural(rng.choice(ITEMS))}


def _buy_more(rng: Random) -> Draft:
    a, b = rng.randint(2, 20), rng.randint(2, 9)
    return worked(say(_MORE, a=a, b=b, **_story(rng)), f"{a} + {b}", a + b)


def _give_away(rng: Random) -> Draft:
    left, b = rng.randint(1, 20), rng.randint(2, 9)
    a = left + b
    return worked(say(_FEWER, a=a, b=b, **_story(rng)), f"{a} - {b}", left)


def _equal_groups(rng: Random) -> Draft:
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    return worked(say(_GROUPS, a=a, b=b, **_story(rng)), f"{a} * {b}", a * b)


def _two_steps(rng: Random) -> Draft:
    a, b = rng.randint(3, 15), rng.randint(2, 9)
    c = rng.randint(2, min(9, a + b - 1))
    phrasings = say(_TWO_STEPS, a=a, b=b, c=c, **_story(rng))
    return worked(phrasings, f"{a} + {b} = {a + b}. {a + b} - {c}", a + b - c)


_SUM = (
    "Work out this sum and give only the number: {a} {sign} {b}",
    "What is {a} {sign} {b}? Reply with the number only.",
    "Calculate {a} {sign} {b} and write down the result.",
    "Solve the exercise: {a} {sign} {b} = ?",
    "Fill in the result on the worksheet: {a} {sign} {b} = __",
)
_MISSING = (
    "Which number is missing? {a} + __ = {c}",
    "Find the missing number so that {a} + __ = {c} is true.",
    "What must be added to {a} to get {c}?",
    "Fill the gap with the right number: {a} + __ = {c}",
)


def _addition(rng: Random) -> Draft:
    a, b = rng.randint(2, 40), rng.randint(2, 9)
    return numeric(say(_SUM, a=a, sign="+", b=b), a + b)


def _subtraction(rng: Random) -> Draft:
    rest, b = rng.randint(1, 40), rng.randint(2, 9)
    return numeric(say(_SUM, a=rest + b, sign="-", b=b), rest)


def _missing_number(rng: Random) -> Draft:
    a, b = rng.randint(2, 40), rng.randint(2, 9)
    return numeric(say(_MISSING, a=a, c=a + b), b)


_CONVERT = (
    "How many {small} are there in {n} {big}?",
    "Convert {n} {big} to {small}.",
    "Write {n} {big} in {small} and show the step.",
    "A label says {n} {big}. How much is that in {small}?",
    "Change the unit from {big} to {small}: {n} {big}.",
)
_LENGTH = (("meters", "centimeters", 100), ("kilometers", "meters", 1000), ("feet", "inches", 12))
_TIME = (
    ("hours", "minutes", 60),
    ("minutes", "seconds", 60),
    ("weeks", "days", 7),
    ("years", "months", 12),
)
_WEIGHT = (("kilograms", "grams", 1000), ("tons", "kilograms", 1000), ("pounds", "ounces", 16))
_MONEY = (("dollars", "cents", 100), ("euros", "cents", 100), ("dimes", "cents", 10))


def _converting(units: tuple[tuple[str, str, int], ...]) -> Callable[[Random], Draft]:
    def draw(rng: Random) -> Draft:
        big, small, factor = rng.choice(units)
        n = rng.randint(2, 50 if factor in (10, 100, 1000) else 20)
        phrasings = say(_CONVERT, n=n, big=big, small=small)
        return worked(phrasings, f"{n} * {factor}", n * factor, slip=factor)

    return draw


_NEXT = (
    "What comes next in this sequence? {shown}, ...",
    "Continue the pattern with one more entry: {shown}, ...",
    "Look at the series {shown}, ... and name the next one.",
    "Find the next term: {shown}, __",
)


def _shown(terms: list) -> tuple[str, ...]:
    return say(_NEXT, shown=", ".join(map(str, terms)))


def _steady_steps(rng: Random) -> Draft:
    start, step, length = rng.randint(1, 40), rng.randint(2, 10), rng.randint(3, 4)
    terms = [start + step * i for i in range(length + 1)]
    return numeric(_shown(terms[:-1]), terms[-1])


def _multiplying(rng: Random) -> Draft:
    start, factor, length = rng.randint(1, 25), rng.choice((2, 2, 3)), rng.randint(3, 4)
    terms = [start * factor**i for i in range(length + 1)]
    return numeric(_shown(terms[:-1]), terms[-1])


def _letters(rng: Random) -> Draft:
    step, length = rng.randint(1, 3), rng.randint(3, 5)
    start = rng.randrange(26 - step * length)
    terms = [ascii_uppercase[start + step * i] for i in range(length + 1)]
    return choice_of(_shown(terms[:-1]), terms[-1], tuple(ascii_uppercase[start : start + 20]))


def _repeating(rng: Random) -> Draft:
    cycle = rng.sample(COLORS, rng.randint(2, 3))
    length = rng.randint(len(cycle) + 2, 2 * len(cycle) + 1)
    terms = [cycle[i % len(cycle)] for i in range(length + 1)]
    return choice_of(_shown(terms[:-1]), terms[-1], tuple(cycle))


NUMBER_SKILLS = (
    Skill(
        "word-problems",
        "One- and two-step stories about buying, giving and sharing, solved with the steps shown.",
        {
            "buy-more": _buy_more,
            "give-away": _give_away,
            "equal-groups": _equal_groups,
            "two-steps": _two_steps,
        },
    ),
    Skill(
        "arithmetic",
        "Bare sums with small whole numbers.",
        {
            "addition": _addition,
            "subtraction": _subtraction,
            "missing-number": _missing_number,
        },
    ),
    Skill(
        "unit-conversion",
        "From a larger unit to a smaller one, with the factor shown.",
        {
            "length": _converting(_LENGTH),
            "time": _converting(_TIME),
            "weight": _converting(_WEIGHT),
            "money": _converting(_MONEY),
        },
    ),
    Skill(
        "sequence",
        "The next entry of a regular series.",
        {
            "steady-steps": _steady_steps,
            "multiplying": _multiplying,
            "letters": _letters,
            "repeating": _repeating,
        },
    ),
)

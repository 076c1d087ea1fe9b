"""Nearly the same prompt: a greeting, a typo of punctuation or case, a word more or less."""

from collections.abc import Callable
from random import Random

from gtp_core.demo.skills.words import NAMES

_OPENINGS = ("Question: ", "Q: ", "Hi! ", "Hello, ", "Quick one: ", "Task: ", "Next: ", "OK. ")
_SWAPS = (
    ("What is ", "What's "),
    ("How many ", "Exactly how many "),
    ("how many ", "just how many "),
    ("Which ", "So which "),
    (" is it ", " will it be "),
    (" has ", " has got "),
    (" are left", " are left over"),
    (" in total", " all together"),
    (" now?", " right now?"),
    ("Write ", "Please write "),
    ("Find ", "Please find "),
    ("Name ", "Please name "),
    ("Turn ", "Please turn "),
    ("Extract ", "Please extract "),
    ("Compare ", "Please compare "),
    ("Remove ", "Please remove "),
    ("Say ", "Now say "),
    ("Label ", "Now label "),
    ("Read ", "Please read "),
    ("Look at ", "Have a look at "),
    ("Fill in ", "Please fill in "),
    ("Complete ", "Please complete "),
    (" this ", " the following "),
)


def nearly(rng: Random, prompt: str) -> str:
    """The prompt with one to three small edits that leave its answer alone."""
    for position in sorted(rng.sample(range(len(_EDITS)), rng.randint(1, 3))):
        prompt = _EDITS[position](rng, prompt)
    return prompt


def _opened(rng: Random, prompt: str) -> str:
    return rng.choice(_OPENINGS) + prompt


def _swapped(rng: Random, prompt: str) -> str:
    fitting = [(a, b) for a, b in _SWAPS if a in prompt.split('"')[0].split("\n")[0]]
    return prompt.replace(*rng.choice(fitting), 1) if fitting else prompt


def _lowered(rng: Random, prompt: str) -> str:
    keeps_case = prompt.startswith((*NAMES, "JSON"))
    return prompt if keeps_case else prompt[0].lower() + prompt[1:]


def _ended(rng: Random, prompt: str) -> str:
    if prompt.endswith("?"):
        return prompt[:-1] + rng.choice(("??", " ?", "? Thanks!", "? Please help."))
    return prompt


# in this order, so that an opening keeps its capital letter
_EDITS: tuple[Callable[[Random, str], str], ...] = (_swapped, _ended, _lowered, _opened)

"""One generated example, and what a skill is: a few named ways to draw one."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Draft:
    """One piece of content: ways to ask for it, its completion, and wrong completions."""

    phrasings: tuple[str, ...]
    completion: str
    mistakes: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """A prompt with its completion; `answer` is the part that an exact match compares.

    `phrasings` asks for the same content in every way the skill knows (`prompt` is one of them),
    so the first one names the content. `mistakes` are plausible completions with another answer.
    """

    prompt: str
    completion: str
    answer: str
    skill: str = ""
    subskill: str = ""
    phrasings: tuple[str, ...] = ()
    mistakes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skill:
    """Something a model can learn, drawn from a few named sub-skills."""

    name: str
    description: str
    parts: Mapping[str, Callable[[Random], Draft]]

    @property
    def subskills(self) -> tuple[str, ...]:
        return tuple(self.parts)

    def generate(self, rng: Random, subskill: str | None = None) -> Example:
        """Draw one example, of a random sub-skill unless one is named."""
        chosen = rng.choice(self.subskills) if subskill is None else subskill
        draft = self.parts[chosen](rng)
        return Example(
            prompt=rng.choice(draft.phrasings),
            completion=draft.completion,
            answer=answer_of(draft.completion),
            skill=self.name,
            subskill=chosen,
            phrasings=draft.phrasings,
            mistakes=draft.mistakes,
        )


def answer_of(text: str) -> str:
    """The exact-match answer inside a completion: what follows `Answer:`, else its first line.

    >>> answer_of("3 + 4 = 7. Answer: 7")
    '7'
    >>> answer_of(" Saturday.")
    'Saturday'
    """
    first_line = text.strip().split("\n", 1)[0]
    answer = first_line.rsplit("Answer:", 1)[-1].strip()
    return re.sub(r"\s+", " ", answer.removesuffix("."))


def say(templates: tuple[str, ...], **slots: object) -> tuple[str, ...]:
    """Fill every template with the same content: the phrasings of one draft."""
    return tuple(template.format(**slots) for template in templates)


def numeric(phrasings: tuple[str, ...], value: int) -> Draft:
    """A draft whose completion is a bare whole number; mistakes are off by a little."""
    return Draft(phrasings, str(value), tuple(map(str, _near_misses(value, 1))))


def worked(phrasings: tuple[str, ...], steps: str, value: int, slip: int = 1) -> Draft:
    """A draft that shows its steps first; a mistake is off by `slip` or so in the last step."""
    wrong = tuple(_shown(steps, missed) for missed in _near_misses(value, slip))
    return Draft(phrasings, _shown(steps, value), wrong)


def choice_of(phrasings: tuple[str, ...], right: str, others: tuple[str, ...]) -> Draft:
    """A draft whose completion is one of a few candidates; the others are the mistakes."""
    return Draft(phrasings, right, tuple(other for other in others if other != right))


def _shown(steps: str, value: int) -> str:
    return f"{steps} = {value}. Answer: {value}"


def _near_misses(value: int, slip: int) -> list[int]:
    return [value + slip * n for n in (1, -1, 2, 10) if value + slip * n >= 0]

"""The demo's validation tasks: what a curator wants the model to get better at."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from random import Random

from gtp_core.demo.skills import SKILLS, Example

MAX_DRAWS = 1000


@dataclass(frozen=True)
class DemoTask:
    """A task with its validation examples (few, to pose the target) and its test examples.

    Both lists hold dicts with `example_id`, `subtask`, `prompt`, `completion`, spread evenly
    over the subtasks.
    """

    name: str
    description: str
    validation: list[dict]
    test: list[dict]


@dataclass(frozen=True)
class _Recipe:
    """A task's parts (subtask, skill, sub-skill or None for any) and how many examples."""

    name: str
    description: str
    parts: tuple[tuple[str, str, str | None], ...]
    n_validation: int
    n_test: int


def _skill_parts(*skills: str) -> tuple[tuple[str, str, str | None], ...]:
    return tuple((skill, skill, None) for skill in skills)


_RECIPES = (
    _Recipe(
        "shop-arithmetic",
        "Everyday sums: short stories, bare arithmetic and changing units.",
        _skill_parts("word-problems", "arithmetic", "unit-conversion"),
        n_validation=96,
        n_test=300,
    ),
    _Recipe(
        "tidy-data",
        "Handling small data: JSON from sentences, tables, lists and strings.",
        _skill_parts("extract-json", "table-lookup", "list-ops", "string-edit"),
        n_validation=80,
        n_test=300,
    ),
    _Recipe(
        "calendar",
        "Weekdays and dates, known from six validation examples only: a target to distrust.",
        tuple((part, "dates", part) for part in SKILLS["dates"].subskills),
        n_validation=6,
        n_test=200,
    ),
)


def make_tasks(seed: int = 0) -> list[DemoTask]:
    """The three tasks; within a seed no content occurs twice in them, whatever its phrasing."""
    return [task for task, _ in _tasks(seed)]


@cache
def reserved_prompts(seed: int = 0) -> frozenset[str]:
    """Every way to ask for what the tasks of this seed ask: pool and pre-training avoid them."""
    return frozenset(
        phrasing
        for _, examples in _tasks(seed)
        for example in examples
        for phrasing in example.phrasings
    )


def _tasks(seed: int) -> Iterator[tuple[DemoTask, list[Example]]]:
    taken: set[str] = set()
    for recipe in _RECIPES:
        validation = _examples(recipe, "validation", recipe.n_validation, seed, taken)
        test = _examples(recipe, "test", recipe.n_test, seed, taken)
        rows = [[row for row, _ in part] for part in (validation, test)]
        yield (
            DemoTask(recipe.name, recipe.description, *rows),
            [example for _, example in validation + test],
        )


def _examples(
    recipe: _Recipe, split: str, count: int, seed: int, taken: set[str]
) -> list[tuple[dict, Example]]:
    rows = []
    for index, (subtask, skill, subskill) in zip(range(count), cycle(recipe.parts), strict=False):
        rng = Random(f"{seed}/tasks/{recipe.name}/{split}/{index}")
        # the sub-skills of a skill take turns, so that a short list still shows each of them
        turn = SKILLS[skill].subskills[index // len(recipe.parts) % len(SKILLS[skill].subskills)]
        example = unseen(rng, skill, subskill or turn, taken)
        row = {
            "example_id": f"{recipe.name}-{split}-{index:03d}",
            "subtask": subtask,
            "prompt": example.prompt,
            "completion": example.completion,
        }
        rows.append((row, example))
    return rows


def unseen(rng: Random, skill: str, subskill: str | None, taken: set[str]) -> Example:
    """Draw until the content is new, and mark all its phrasings as taken.

    Raises `LookupError` when the skill seems to have nothing new to offer.
    """
    for _ in range(MAX_DRAWS):
        example = SKILLS[skill].generate(rng, subskill)
        if taken.isdisjoint(example.phrasings):
            taken.update(example.phrasings)
            return example
    raise LookupError(f"{skill} has no unseen content left after {MAX_DRAWS} draws")

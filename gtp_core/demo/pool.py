"""The demo's pool: eight sources of different quality, with faults planted and written down."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from gtp_core.demo.skills import SKILLS, Example
from gtp_core.demo.skills.filler import ODDITIES, generate_filler
from gtp_core.demo.skills.nearly import nearly
from gtp_core.demo.skills.sources import COPIES, KINDS, SOURCES, Source
from gtp_core.demo.tasks import MAX_DRAWS, make_tasks, reserved_prompts, unseen


@dataclass(frozen=True)
class Pool:
    """What a curator sees (`records`) and what was planted (`truth`), in the same order.

    A record is `{"id", "source", "prompt", "completion"}`, its truth
    `{"id", "skill", "subskill", "kind", "of"}`, where `of` is the id of the sample that a
    duplicate copies, else None.
    """

    records: list[dict]
    truth: list[dict]


@dataclass(frozen=True)
class _Row:
    """A sample before it has an id; `of` is the position of the row that it copies."""

    source: str
    prompt: str
    completion: str
    skill: str
    subskill: str
    kind: str
    of: int | None = None
    phrasings: tuple[str, ...] = ()


# What a base model meets of each skill: more of what is hard, less of what is easy. The skills of
# the tasks come mostly in a habit of their own (see `_habit`), seldom as the pool writes them, so
# that the base model knows them and fine-tuning still has something to teach.
_PRETRAINING_SHARES = dict.fromkeys(SKILLS, 5) | {
    "word-problems": 6,
    "arithmetic": 7,
    "list-ops": 6,
    "string-edit": 7,
    "dates": 4,
    "classification": 3,
    "logic": 4,
}
_LEADS = {
    "arithmetic": "By my count",
    "table-lookup": "In the table",
    "list-ops": "From the list",
    "string-edit": "Letter by letter",
    "extract-json": "In short form",
    # three habits in the skill of six examples, lest they alone make a reliable target
    "weekday": "Within the week",
    "next-date": "On the next page",
    "days-between": "From day to day",
}
_SHORT = ("word-problems", "unit-conversion")
_AS_IN_THE_POOL = 0.1
_PRETRAINING_FILLER = 0.10


def make_pool(seed: int = 0, size: int = 4000) -> Pool:
    """The pool of a seed: `size` samples in shuffled order, ids that tell the source and no more.

    Raises `ValueError` when the skills cannot fill so large a pool without repeating themselves.
    """
    rows = _originals(seed, size)
    rows += _copies(seed, size, rows)
    order = list(range(len(rows)))
    Random(f"{seed}/pool/order").shuffle(order)
    ids = _ids(rows, order)
    records, truth = [], []
    for i in order:
        row, of = rows[i], rows[i].of
        text = {"prompt": row.prompt, "completion": row.completion}
        planted = {"skill": row.skill, "subskill": row.subskill, "kind": row.kind}
        records.append({"id": ids[i], "source": row.source, **text})
        truth.append({"id": ids[i], **planted, "of": None if of is None else ids[of]})
    return Pool(records, truth)


def make_pretraining(seed: int = 0, size: int = 100_000) -> Iterator[tuple[str, str]]:
    """Clean (prompt, completion) pairs of all skills and some filler, to teach a base model.

    They repeat each other now and then, but never ask what the tasks of this seed ask.
    """
    reserved = reserved_prompts(seed)
    names, weights = zip(*_PRETRAINING_SHARES.items(), strict=True)
    for index in range(size):
        rng = Random(f"{seed}/pretraining/{index}")
        if rng.random() < _PRETRAINING_FILLER:
            yield generate_filler(rng)[1:]
            continue
        example = SKILLS[rng.choices(names, weights)[0]].generate(rng)
        while not reserved.isdisjoint(example.phrasings):
            example = SKILLS[example.skill].generate(rng)
        as_in_the_pool = rng.random() < _AS_IN_THE_POOL
        yield example.prompt, example.completion if as_in_the_pool else _habit(example)


def _habit(example: Example) -> str:
    """How pre-training completes a prompt: bare where the pool shows steps, and with a lead where
    the pool answers at once; as the pool does in the skills of no task."""
    if example.skill in _SHORT:
        return example.answer
    lead = _LEADS.get(example.skill) or _LEADS.get(example.subskill)
    return f"{lead}. Answer: {example.completion}" if lead else example.completion


def write_pool(folder: str | os.PathLike, *, seed: int = 0, size: int = 4000) -> Pool:
    """Write `pool.jsonl`, `truth.jsonl` and `tasks/<name>/{validation,test}.jsonl` to a folder."""
    pool, folder = make_pool(seed, size), Path(folder)
    _write_lines(folder / "truth.jsonl", pool.truth)
    for task in make_tasks(seed):
        _write_lines(folder / "tasks" / task.name / "validation.jsonl", task.validation)
        _write_lines(folder / "tasks" / task.name / "test.jsonl", task.test)
    _write_lines(folder / "pool.jsonl", pool.records)
    return pool


def _write_lines(path: Path, rows: Iterable[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(lines.encode())
    partial.replace(path)


def _counts(size: int, source: Source) -> dict[str, int]:
    """How many rows of each kind a source has; the shares are rounded so that all add to `size`."""
    before = sum(s.share for s in SOURCES[: SOURCES.index(source)])
    total = round(size * (before + source.share)) - round(size * before)
    faults = {kind: round(total * share) for kind, share in source.faults.items()}
    return {"clean": total - sum(faults.values()), **faults}


def _places(size: int, kinds: tuple[str, ...]) -> Iterator[tuple[Source, str, int]]:
    """Every place to fill with a row of these kinds: (source, kind, index within the two)."""
    for source in SOURCES:
        counts = _counts(size, source)
        yield from ((source, kind, index) for kind in kinds for index in range(counts[kind]))


def _originals(seed: int, size: int) -> list[_Row]:
    """Every row that copies no other: clean, wrong, truncated and filler, source by source."""
    taken = set(reserved_prompts(seed))
    rows = []
    for source, kind, index in _places(size, tuple(kind for kind in KINDS if kind not in COPIES)):
        rng = Random(f"{seed}/pool/{source.name}/{kind}/{index}")
        if kind == "filler":
            odd = source.name == "scraped-web" and index < len(ODDITIES)
            rows.append(_filler(rng, source, taken, ODDITIES[index] if odd else None))
        else:
            rows.append(_ORIGINAL[kind](rng, source, taken))
    return rows


def _fresh(rng: Random, source: Source, taken: set[str]) -> Example:
    """An example of one of the source's skills that nothing in `taken` asks for yet."""
    left = dict(source.skills)
    while left:
        skill = rng.choices(tuple(left), tuple(left.values()))[0]
        try:
            return unseen(rng, skill, None, taken)
        except LookupError:
            del left[skill]
    raise ValueError(f"{source.name} has nothing new left to say; make a smaller pool")


def _clean(rng: Random, source: Source, taken: set[str]) -> _Row:
    return _row(_fresh(rng, source, taken), source, "clean")


def _wrong(rng: Random, source: Source, taken: set[str]) -> _Row:
    example = _fresh(rng, source, taken)
    return _row(example, source, "wrong-answer", rng.choice(example.mistakes))


def _truncated(rng: Random, source: Source, taken: set[str]) -> _Row:
    example = _fresh(rng, source, taken)
    while len(example.completion) < 6:  # a bare number cannot be cut so that it shows
        example = _fresh(rng, source, taken)
    length = len(example.completion)
    cut = example.completion[: rng.randint(length // 3, 2 * length // 3)].rstrip()
    return _row(example, source, "truncated", cut)


_ORIGINAL = {"clean": _clean, "wrong-answer": _wrong, "truncated": _truncated}


def _row(example: Example, source: Source, kind: str, completion: str | None = None) -> _Row:
    return _Row(
        source=source.name,
        prompt=example.prompt,
        completion=example.completion if completion is None else completion,
        skill=example.skill,
        subskill=example.subskill,
        kind=kind,
        phrasings=example.phrasings,
    )


def _filler(
    rng: Random, source: Source, taken: set[str], oddity: tuple[str, str, str] | None
) -> _Row:
    name, prompt, completion = oddity or generate_filler(rng)
    while prompt in taken:
        name, prompt, completion = generate_filler(rng)
    taken.add(prompt)
    return _Row(source.name, prompt, completion, "filler", name, "filler")


def _copies(seed: int, size: int, originals: list[_Row]) -> list[_Row]:
    """The planted duplicates; each source repeats a few of its clean rows, a crawl those of all."""
    taken = {row.prompt for row in originals}
    clean = [i for i, row in enumerate(originals) if row.kind == "clean"]
    own = {s.name: [i for i in clean if originals[i].source == s.name] for s in SOURCES}
    copies = []
    for source, kind, index in _places(size, COPIES):
        rng = Random(f"{seed}/pool/{source.name}/{kind}/{index}")
        mine = own[source.name]
        liked = clean if source.name == "scraped-web" else mine[: max(1, len(mine) // 4)]
        copies.append(_copy(rng, originals, liked, source, kind, taken))
    return copies


def _copy(
    rng: Random, rows: list[_Row], liked: list[int], source: Source, kind: str, taken: set[str]
) -> _Row:
    """One copy of one of the liked rows; apart from exact duplicates, no prompt occurs twice."""
    for _ in range(MAX_DRAWS):
        of = rng.choice(liked)
        prompt = _restated(rng, rows[of], kind)
        if kind == "exact-duplicate" or prompt not in taken:
            taken.add(prompt)
            return replace(rows[of], source=source.name, prompt=prompt, kind=kind, of=of)
    raise ValueError(f"{source.name} has too few clean rows to copy; make a larger pool")


def _restated(rng: Random, row: _Row, kind: str) -> str:
    if kind == "near-duplicate":
        return nearly(rng, row.prompt)
    return rng.choice(row.phrasings) if kind == "paraphrase-duplicate" else row.prompt


def _ids(rows: list[_Row], order: list[int]) -> dict[int, str]:
    """The id of each row: its source, and its place among the rows of that source as shuffled."""
    seen: Counter[str] = Counter()
    ids = {}
    for i in order:
        ids[i] = f"{rows[i].source}-{seen[rows[i].source]:05d}"
        seen[rows[i].source] += 1
    return ids

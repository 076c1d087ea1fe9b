"""A list of samples that someone else chose, as a selection to compare with."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.errors import RunError
from gtp_core.methods.register import equal_weights
from gtp_core.pursuit import Selection
from gtp_core.report.quality import HeldOut, combination, cosine

GIVEN = "ids"
"""The method of a run whose samples were given: no method of ours, and none of METHODS."""

MOST_BYTES = 50_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


def given(
    catalog: Catalog, problem: Problem, sample_ids: Sequence[str], *, name: str | None = None
) -> Selection:
    """Samples that were chosen elsewhere, all with the one weight that fits the target best.

    Its held-out match is not known: what the list was fitted to is not either.

    Args:
        catalog: the open catalog.
        problem: what to measure the list against.
        sample_ids: first come, first ranked.
        name: what to call the list; part of the run's id.

    Raises:
        RunError: an empty list, an id that repeats or has no usable gradient, or a bad name.
        CatalogError: an id that is not in the store.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise RunError(
            f"name {name!r} cannot be part of a run's id; give up to 40 letters, digits, '.', '_' "
            "or '-', with a letter or digit first."
        )
    rows = _rows(catalog, sample_ids)
    text = "".join(f"{sample_id}\n" for sample_id in sample_ids)
    return replace(
        equal_weights(problem, GIVEN, len(rows), rows),
        settings={
            **problem.settings,
            "method": GIVEN,
            "budget": str(len(rows)),
            "weights": "equal",
            "name": name or "",
            "ids_sha256": hashlib.sha256(text.encode()).hexdigest(),
        },
    )


def _rows(catalog: Catalog, sample_ids: Sequence[str]) -> np.ndarray:
    if not sample_ids:
        raise RunError("the list holds no sample id; a run needs at least one. Add some.")
    seen: set[str] = set()
    for sample_id in sample_ids:
        if sample_id in seen:
            raise RunError(f"sample {sample_id!r} is in the list twice. List every sample once.")
        seen.add(sample_id)
    rows = catalog.rows_of(sample_ids)
    usable = catalog.valid()[rows]
    if not usable.all():
        bad = sample_ids[int(np.flatnonzero(~usable)[0])]
        raise RunError(f"sample {bad!r} of the list has no usable gradient. Take it out.")
    return rows


def read_ids(path: Path | str) -> list[str]:
    """Sample ids from a file: one a line, JSON lines with `sample_id`, or one JSON document with
    `sample_ids` (a receipt, or what `select --json` prints).

    Raises:
        RunError: the file cannot be read, or a JSON line has no sample id.
    """
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError):
        raise RunError(f"{path} cannot be read; give a text file of sample ids.") from None
    return ids_of(content, str(path))


def ids_of(content: bytes, name: str) -> list[str]:
    """Sample ids from the content of such a file, called `name` where something is wrong with it.

    Raises:
        RunError: it is no text, too long for a list of ids, or a JSON line has no sample id.
    """
    if len(content) > MOST_BYTES:
        raise RunError(
            f"{name} has {len(content):,} bytes; a list of ids has at most {MOST_BYTES:,}. "
            "Give ids alone, without the samples' texts."
        )
    try:
        text = content.decode("utf-8-sig")
    except ValueError:
        raise RunError(f"{name} cannot be read; give a text file of sample ids.") from None
    document = _json(text)
    if isinstance(document, dict) and "sample_ids" in document:
        found = document["sample_ids"]
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise RunError(f"the sample_ids of {name} are no list of texts. Give a receipt's.")
        return found
    # At newlines only: `splitlines` also breaks an id at U+2028.
    lines = [line.strip() for line in text.split("\n")]
    if isinstance(_json(next(filter(None, lines), "")), dict):
        return [_of_record(name, n, line) for n, line in enumerate(lines, 1) if line]
    return [line for line in lines if line]


def match_of(problem: Problem, selection: Selection) -> HeldOut | None:
    """The match of a list with halves of the validation examples; None with a single example.

    Nothing is fitted: it is the mean cosine with the target of a half. So it is a held-out match
    only if whoever made the list did not look at these examples.
    """
    if not problem.splits:
        return None
    total = combination(problem, selection)
    matches = [cosine(total, split.rest) for split in problem.held_out]
    ceilings = [cosine(split.fit, split.rest) for split in problem.held_out]
    return HeldOut(float(np.mean(matches)), float(np.mean(ceilings)), len(matches))


def beside(
    problem: Problem,
    listed: Selection,
    selections: Mapping[str, Selection],
    held: Mapping[str, HeldOut | None],
) -> pl.DataFrame:
    """A list beside what methods choose: a row each, in numbers to compare."""
    everyone = {"your list": listed, **selections}
    matches = {"your list": match_of(problem, listed), **held}
    rows = [
        {
            "selection": name,
            "samples": len(one.support),
            "also in your list": int(np.isin(one.support, listed.support).sum()),
            "residual, weighted": one.residual_weighted,
            "residual, as trained": one.residual_as_trained,
            "held-out match": (found := matches[name]) and found.match,
            "ceiling": found and found.ceiling,
        }
        for name, one in everyone.items()
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _of_record(path: str, number: int, line: str) -> str:
    record = _json(line)
    found = record.get("sample_id") if isinstance(record, dict) else None
    if not isinstance(found, str):
        raise RunError(
            f"line {number} of {path} is no JSON object with a text `sample_id`, as the first "
            "promises. Give one to every line, or plain ids."
        )
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None

"""A list of samples that someone else chose, as a selection to compare with."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.errors import RunError
from gtp_core.methods.register import equal_weights
from gtp_core.pursuit import Selection

GIVEN = "ids"
"""The method of a run whose samples were given: no method of ours, and none of METHODS."""

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
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise RunError(f"{path} cannot be read; give a text file of sample ids.") from None
    document = _json(text)
    if isinstance(document, dict) and "sample_ids" in document:
        found = document["sample_ids"]
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise RunError(f"the sample_ids of {path} are no list of texts. Give a receipt's.")
        return found
    # At newlines only: `splitlines` also breaks an id at U+2028.
    lines = [line.strip() for line in text.split("\n")]
    if isinstance(_json(next(filter(None, lines), "")), dict):
        return [_of_record(path, n, line) for n, line in enumerate(lines, 1) if line]
    return [line for line in lines if line]


def _of_record(path: Path | str, number: int, line: str) -> str:
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

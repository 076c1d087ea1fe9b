"""Measures of single samples, by which a selection is held against the pool: length, quality."""

import json
import re
from collections.abc import Mapping

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.errors import CatalogError

LENGTH = "length"
_COMPUTED = {
    "influence": "influence on the task, computed from the gradients",
    "norm": "mean gradient norm over the checkpoints, from the store",
}
_FIELD = "record."
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}")
_NO_MEASURE = re.compile(r"(^|_)(id|ids|idx|index|row|line|n_tokens|tokens|seed|hash)$", re.I)
_QUALITY = re.compile(r"score|quality|reward|rating|grade|loss|perplexity|ppl", re.I)
_LOOKED_AT = 1000  # records in which fields are looked for
_BINS = 24


def measures(catalog: Catalog) -> dict[str, str]:
    """What samples can be measured by besides their length, each in words; quality first.

    That is every field of the original records that holds a number in at least half of the first
    thousand, those named like a quality before the rest; then what the gradients say.
    """
    found: dict[str, int] = {}
    lines = catalog.store.samples().select("record").head(_LOOKED_AT).collect()["record"]
    for line in lines:
        for name in _numbers_of(line):
            found[name] = found.get(name, 0) + 1
    often = [name for name, count in found.items() if 2 * count >= len(lines)]
    often.sort(key=lambda name: (_QUALITY.search(name) is None, name))
    return {f"{_FIELD}{name}": f"the records' field {name}" for name in often} | _COMPUTED


def _numbers_of(line: str | None) -> list[str]:
    try:
        record = json.loads(line or "")
    except ValueError:
        return []
    return [
        name
        for name, value in (record.items() if isinstance(record, dict) else ())
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and _NAME.fullmatch(name)
        and not _NO_MEASURE.search(name)
    ]


def measured(catalog: Catalog, problem: Problem, name: str) -> np.ndarray:
    """(n_samples,) float64 of a measure; NaN where a sample has none.

    Raises:
        CatalogError: no such measure.
    """
    if name == LENGTH:
        sql = "SELECT n_tokens AS found FROM samples ORDER BY row"
    elif name == "norm":
        sql = "SELECT list_avg(norms) AS found FROM health ORDER BY row"
    elif name == "influence":
        return np.asarray(problem.influence, np.float64)
    elif name.startswith(_FIELD) and _NAME.fullmatch(name.removeprefix(_FIELD)):
        return _field(catalog, name.removeprefix(_FIELD))
    else:
        raise CatalogError(
            f"samples cannot be measured by {name!r}. Take {LENGTH}, influence, norm or "
            f"{_FIELD}NAME, where NAME is a field of the records."
        )
    found = catalog.query(sql)["found"].cast(pl.Float64).fill_null(float("nan"))
    return found.to_numpy()


def _field(catalog: Catalog, name: str) -> np.ndarray:
    texts = pl.col("record").str.json_path_match(f"$.{name}")
    found = catalog.store.samples().select(texts.cast(pl.Float64, strict=False).alias("found"))
    return found.collect()["found"].fill_null(float("nan")).to_numpy()


def value_shares(values: np.ndarray, supports: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """Shares of samples by a measure: low, high, middle of a bin, pool, then each selection.

    Bins are even on a log scale where all values are positive and spread over more than a factor
    of 20. A bin holds what is at least `low` and below `high`; the last holds its `high` too.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        known = np.zeros(1)
    low, high = float(known.min()), float(known.max())
    if is_log(values):
        cuts, middle = np.geomspace(low, high, _BINS + 1), np.sqrt
    else:
        cuts, middle = np.linspace(low, high, _BINS + 1), None
    edges = np.unique([low, *(float(f"{cut:.4g}") for cut in cuts[1:-1]), high])
    edges = edges[(edges >= low) & (edges <= high)]
    edges = edges if len(edges) > 1 else np.array([low, np.nextafter(low, np.inf)])
    centre = middle(edges[1:] * edges[:-1]) if middle else (edges[1:] + edges[:-1]) / 2
    table = {"low": edges[:-1], "high": edges[1:], "middle": centre}
    for name, rows in {"pool": np.arange(len(values)), **supports}.items():
        here = values[rows]
        counts, _ = np.histogram(here[np.isfinite(here)], edges)
        table[name] = counts / max(len(rows), 1)
    return pl.DataFrame(table)


def is_log(values: np.ndarray) -> bool:
    """Whether a measure is shown on a log scale."""
    known = values[np.isfinite(values)]
    return bool(len(known)) and known.min() > 0 and known.max() > 20 * known.min()


def middle_values(values: np.ndarray, supports: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The median of a measure in the pool and in each selection."""
    found = {}
    for name, rows in {"pool": np.arange(len(values)), **supports}.items():
        here = values[rows]
        here = here[np.isfinite(here)]
        found[name] = float(np.median(here)) if len(here) else float("nan")
    return found


def spell_range(name: str, shares: pl.DataFrame, place: int) -> str:
    """A bin of `value_shares` as a filter's value."""
    low, high = shares.row(place)[:2]
    last = place == shares.height - 1
    return f"{name}:{low!r}:{float(np.nextafter(high, np.inf)) if last else high!r}"


def read_range(value: str) -> tuple[str, float, float]:
    """What `spell_range` said.

    Raises:
        CatalogError: it is no range.
    """
    try:
        name, low, high = value.rsplit(":", 2)
        return name, float(low), float(high)
    except ValueError:
        raise CatalogError(
            f"{value[:80]!r} is no range of a measure, such as length:10:20. Remove the filter."
        ) from None


def rows_between(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rows whose measure is at least `low` and below `high`."""
    with np.errstate(invalid="ignore"):
        return np.flatnonzero((values >= low) & (values < high))

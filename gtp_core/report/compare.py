"""Selections side by side: overlap, sources, redundancy, match by checkpoint."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.pursuit import Selection
from gtp_core.report.contrast.geometry import likeness
from gtp_core.report.quality import cosine

_LETTERS = "abcd"


def overlap(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Counts of two supports: only the first, both, only the second, and the Jaccard index."""
    both = len(np.intersect1d(a, b))
    union = len(a) + len(b) - both
    jaccard = both / union if union else 1.0
    return {"only_a": len(a) - both, "both": both, "only_b": len(b) - both, "jaccard": jaccard}


def redundancy(problem: Problem, support: np.ndarray) -> float | None:
    """Mean of the largest cosine of each chosen sample to another chosen one; None of fewer than 2.

    Of very many it is the mean over evenly spread ones: see `likeness`.
    """
    return likeness(problem, support).mean


def source_mix(catalog: Catalog, supports: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """Share of each source in the pool and in each selection: source, pool, then one per name."""
    sources = catalog.query("SELECT row, source FROM samples ORDER BY row")["source"]
    table = _shares(sources, "pool")
    for name, support in supports.items():
        table = table.join(_shares(sources.gather(support), name), on="source", how="left")
    return table.fill_null(0.0).sort("pool", "source", descending=[True, False])


def _shares(sources: pl.Series, name: str) -> pl.DataFrame:
    counts = pl.DataFrame({"source": sources}).group_by("source").agg(pl.len().alias(name))
    return counts.with_columns(pl.col(name) / max(len(sources), 1))


def checkpoint_match(
    catalog: Catalog, problem: Problem, selections: Mapping[str, Selection]
) -> pl.DataFrame:
    """Cosine of the unweighted sum of chosen atoms with the target, checkpoint by checkpoint.

    Returns:
        method, checkpoint, cosine.
    """
    checkpoints = [c.name for c in catalog.store.checkpoints]
    targets = np.split(problem.target, len(checkpoints))
    rows = []
    for name, selection in selections.items():
        total = problem.atoms.rows(selection.support).sum(axis=0, dtype=np.float64)
        pieces = np.split(total, len(checkpoints))
        rows += [
            (name, checkpoint, cosine(piece, target))
            for checkpoint, piece, target in zip(checkpoints, pieces, targets, strict=True)
        ]
    return pl.DataFrame(rows, schema=["method", "checkpoint", "cosine"], orient="row")


def text_duplicates(catalog: Catalog, support: np.ndarray) -> int:
    """How many chosen samples repeat another chosen one's text exactly."""
    texts = catalog.query(
        "SELECT count(*) - count(DISTINCT hash(prompt, completion)) AS n FROM samples"
        " WHERE row IN (SELECT unnest($1::BIGINT[]))",
        [support.tolist()],
    )
    return int(texts["n"].item())


def compare(catalog: Catalog, problem: Problem, *sides: Mapping[str, Any]) -> dict[str, Any]:
    """Two to four saved runs side by side, as plain JSON types: `a`, `b`, `c` and `d`.

    Args:
        catalog: the open catalog.
        problem: the geometry in which redundancy is measured.
        sides: `{"run": document, "support": indices}` each. `overlap` is that of the first two.
    """
    told = dict(zip(_LETTERS, sides, strict=False))
    mix = source_mix(catalog, {letter: side["support"] for letter, side in told.items()})
    return {
        "store_id": catalog.store.store_id,
        **{letter: _side(catalog, problem, **side) for letter, side in told.items()},
        "overlap": overlap(sides[0]["support"], sides[1]["support"]),
        "sources": mix.to_dicts(),
    }


def _side(
    catalog: Catalog, problem: Problem, run: Mapping[str, Any], support: np.ndarray
) -> dict[str, Any]:
    return {
        **{key: run[key] for key in ("run", "method", "task", "budget", "n_selected")},
        **{key: run[key] for key in ("residual_weighted", "residual_as_trained", "held_out")},
        "redundancy": redundancy(problem, support),
        "text_duplicates": text_duplicates(catalog, support),
    }

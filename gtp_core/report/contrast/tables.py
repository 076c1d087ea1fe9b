"""Tables of a comparison: who has what, how alike, what is left of the target, and why not both."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.report.compare import overlap
from gtp_core.report.contrast.contestants import Contestant
from gtp_core.report.quality import cosine
from gtp_core.report.runs import topk_ranks

MOST_POINTS = 5000
_GRID = (160, 60)  # cells of the density behind the points: 13 kB on the wire
_RANK_CELLS = 40
_STEP = 0.025  # width of a bar of the redundancy histogram


def overlaps(contestants: Sequence[Contestant]) -> pl.DataFrame:
    """One row per pair: a, b, only_a, both, only_b, jaccard."""
    rows = [
        {"a": a.name, "b": b.name, **overlap(a.support, b.support)}
        for a, b in combinations(contestants, 2)
    ]
    return pl.DataFrame(rows)


def exclusive(contestants: Sequence[Contestant]) -> pl.DataFrame:
    """How many samples are in exactly these selections: a bool per name, and `samples`.

    One row per combination that occurs, the largest first; they add up to the union.
    """
    union = np.unique(np.concatenate([one.support for one in contestants]))
    member = np.stack([np.isin(union, one.support) for one in contestants], axis=1)
    codes = member @ (1 << np.arange(len(contestants)))
    counts = np.bincount(codes.astype(np.int64), minlength=1 << len(contestants))
    found = [code for code in range(1, len(counts)) if counts[code]]
    found.sort(key=lambda code: (-counts[code], code))
    rows = [
        {
            **{one.name: bool(code >> place & 1) for place, one in enumerate(contestants)},
            "samples": int(counts[code]),
        }
        for code in found
    ]
    schema = {**{one.name: pl.Boolean for one in contestants}, "samples": pl.Int64}
    return pl.DataFrame(rows, schema=schema)


def scores(contestants: Sequence[Contestant]) -> pl.DataFrame:
    """One row per selection: samples, both residuals, held-out match, ceiling, redundancy."""
    rows = [
        {
            "selection": one.name,
            "samples": len(one),
            "residual, weighted": one.selection.residual_weighted,
            "residual, as trained": one.selection.residual_as_trained,
            "held-out match": one.held and one.held.match,
            "ceiling": one.held and one.held.ceiling,
            "mean cosine to the nearest other": one.likeness.mean,
            "at least 95 % alike": one.likeness.n_alike,
            "looked at": len(one.likeness.places),
        }
        for one in contestants
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def by_checkpoint(
    catalog: Catalog, problem: Problem, contestants: Sequence[Contestant]
) -> pl.DataFrame:
    """What is left of the target at every checkpoint, relative to its part there.

    Returns:
        selection, checkpoint, residual_weighted, residual_as_trained (one multiple of the plain
        sum for all checkpoints), cosine (of the plain sum with the target); null where the target
        is zero, as at a checkpoint that is switched off.
    """
    names = [checkpoint.name for checkpoint in catalog.store.checkpoints]
    rows = []
    for one in contestants:
        total = one.sums.plain
        length = float(total @ total)
        factor = max(0.0, float(total @ problem.target) / length) if length > 0 else 0.0
        parts = zip(
            names,
            np.split(problem.target, len(names)),
            np.split(one.sums.weighted, len(names)),
            np.split(total, len(names)),
            strict=True,
        )
        for name, target, weighted, plain in parts:
            here = (_left(target, weighted), _left(target, factor * plain))
            rows.append((one.name, name, *here, cosine(plain, target) if target.any() else None))
    columns = ("selection", "checkpoint", "residual_weighted", "residual_as_trained", "cosine")
    return pl.DataFrame(rows, schema=columns, orient="row", infer_schema_length=None)


def _left(target: np.ndarray, found: np.ndarray) -> float | None:
    scale = float(np.linalg.norm(target))
    return float(np.linalg.norm(target - found)) / scale if scale > 0 else None


def likeness_table(contestants: Sequence[Contestant]) -> pl.DataFrame:
    """Histogram of the largest cosine to another of the selection: cosine, then a share per name.

    `cosine` is the lower edge of a bar of 0.025; the shares are of the samples looked at.
    """
    edges = np.round(np.arange(-1, 1 + _STEP / 2, _STEP), 6)
    table = pl.DataFrame({"cosine": edges[:-1]})
    for one in contestants:
        counts, _ = np.histogram(one.likeness.cosines, edges)
        share = counts / max(len(one.likeness.cosines), 1)
        table = table.with_columns(pl.Series(one.name, share))
    filled = table.filter(pl.sum_horizontal(pl.exclude("cosine")) > 0)["cosine"]
    if filled.is_empty():
        return table.clear()
    return table.filter(pl.col("cosine") >= filled.min())


@dataclass(frozen=True)
class Gains:
    """Influence against conditional gain, for two selections.

    Attributes:
        points: sample_id, class (`a`, `both`, `b`), influence, gain; at most 5,000, evenly thinned
            along each selection's own order.
        density: influence, gain (centres of cells), samples: those that neither has.
        cells: the centres of all cells, along the influence and along the gain.
        medians: by class, the median gain of all of its samples.
        counts: by class, how many samples it has, drawn or not.
        measure: `gain`, or `proxy` where no gains are known: what the residual still asks of it.
        given: the name of the selection that the gains are conditional on.
    """

    points: pl.DataFrame
    density: pl.DataFrame
    cells: tuple[np.ndarray, np.ndarray]
    medians: dict[str, float]
    counts: dict[str, int]
    measure: str
    given: str


def gains(
    catalog: Catalog,
    problem: Problem,
    a: Contestant,
    b: Contestant,
    *,
    given: Contestant,
    most: int = MOST_POINTS,
) -> Gains:
    """Where the picks of two selections lie: what top-k ranks by, and what each adds to `given`.

    Args:
        catalog: the open catalog.
        problem: of the comparison; LESS's influence is the horizontal axis.
        a: the one selection.
        b: the other.
        given: the one that the gains are conditional on, `a` or `b`.
        most: points drawn.
    """
    known = given.verdicts["gain"].is_not_null().any()
    measure = "gain" if known else "proxy"
    value = given.verdicts[measure].cast(pl.Float64).fill_null(np.nan).to_numpy()
    influence = problem.influence.astype(np.float64)
    groups = {
        "a": a.support[~np.isin(a.support, b.support)],
        "both": a.support[np.isin(a.support, b.support)],
        "b": b.support[~np.isin(b.support, a.support)],
    }
    total = sum(len(rows) for rows in groups.values())
    drawn = {name: _thinned(rows, most / max(total, 1)) for name, rows in groups.items()}
    rows = np.concatenate(list(drawn.values()))
    points = pl.DataFrame(
        {
            "sample_id": catalog.sample_ids().gather(rows),
            "class": [name for name, some in drawn.items() for _ in range(len(some))],
            "influence": influence[rows],
            "gain": value[rows],
        }
    ).filter(pl.col("gain").is_finite())
    neither = problem.atoms.candidates & np.isfinite(value) & np.isfinite(influence)
    neither[np.concatenate(list(groups.values()))] = False
    medians = {n: float(np.nanmedian(value[r])) for n, r in groups.items() if _some(value[r])}
    counts = {name: len(rows) for name, rows in groups.items()}
    density, cells = _density(influence[neither], value[neither])
    return Gains(points, density, cells, medians, counts, measure, given.name)


def _some(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any())


def _thinned(rows: np.ndarray, share: float) -> np.ndarray:
    """Evenly spread ones of a selection, the strongest always among them."""
    count = min(len(rows), int(len(rows) * share)) if share < 1 else len(rows)
    return rows[np.arange(count) * len(rows) // max(count, 1)]


def _density(x: np.ndarray, y: np.ndarray) -> tuple[pl.DataFrame, tuple[np.ndarray, np.ndarray]]:
    """Counts of the cells of a grid that hold any (influence, gain, samples), and its cells."""
    counts, across, up = np.histogram2d(x, y, bins=_GRID)
    columns, levels = ((edges[:-1] + edges[1:]) / 2 for edges in (across, up))
    i, j = np.nonzero(counts)
    samples = counts[i, j].astype(np.int64)
    table = pl.DataFrame({"influence": columns[i], "gain": levels[j], "samples": samples})
    return table, (columns, levels)


@dataclass(frozen=True)
class Ranks:
    """How two selections order the whole pool.

    Attributes:
        cells: rank_a, rank_b (lower edges of a cell, from 1), samples; log-spaced.
        edges: the edges of the cells along both axes.
        correlation: Spearman's, over all samples that may be chosen.
    """

    cells: pl.DataFrame
    edges: np.ndarray
    correlation: float


def ranks(problem: Problem, a: Contestant, b: Contestant) -> Ranks:
    """Two orders of the pool side by side, counted in log-spaced cells."""
    usable = problem.atoms.candidates
    first, second = (_dense(preference(problem, one)[usable]) for one in (a, b))
    n = len(first)
    edges = np.unique(np.round(np.geomspace(1, n + 1, _RANK_CELLS + 1)))
    counts, _, _ = np.histogram2d(first, second, bins=[edges, edges])
    i, j = np.nonzero(counts)
    cells = pl.DataFrame(
        {"rank_a": edges[i], "rank_b": edges[j], "samples": counts[i, j]},
        schema=dict.fromkeys(("rank_a", "rank_b", "samples"), pl.Int64),
        strict=False,
    )
    correlation = float(np.corrcoef(first, second)[0, 1]) if n > 1 else 1.0
    return Ranks(cells, edges, correlation)


def _dense(places: np.ndarray) -> np.ndarray:
    """The same order, from 1 without gaps, as float64 for a histogram."""
    found = np.empty(len(places), np.int64)
    found[np.argsort(places, kind="stable")] = np.arange(1, len(places) + 1)
    return found.astype(np.float64)


def preference(problem: Problem, one: Contestant) -> np.ndarray:
    """The place (n_samples,) of every sample in a selection's own order, from 1.

    Top-k's order is by influence. Any other has its chosen samples first, strongest first, then
    the rest by what they would still add to it (the conditional gain; where none is known, the
    proxy).
    """
    if one.selection.method == "top-k":
        return topk_ranks(problem)
    gain, proxy = (
        one.verdicts[name].cast(pl.Float64).fill_null(-np.inf).fill_nan(-np.inf).to_numpy()
        for name in ("gain", "proxy")
    )
    chosen = np.full(len(proxy), len(one), np.int64)
    chosen[one.support] = np.arange(len(one))
    rest = np.lexsort((np.arange(len(proxy)), -proxy, -gain, chosen))
    places = np.empty(len(proxy), np.int64)
    places[rest] = np.arange(1, len(proxy) + 1)
    return places

"""Pairs of samples that are alike: found in the graph, their cosines taken in full dimension."""

from dataclasses import dataclass

import numpy as np

from gtp_core.neighbors.complete import completed
from gtp_core.neighbors.graph import Graph
from gtp_core.store import Progress, Store
from gtp_core.trajectories import Trajectories, in_threads, step_weights

FLOOR = 0.8
"""The lowest cosine of a pair that is kept: no threshold goes below it."""

MOST_PAIRS = 3_000_000
_LEVELS = (0.0, 0.05, 0.1, 0.15, 0.18)  # above the floor: where groups are completed
_MARGIN = 3.0  # standard errors of a sketch's cosine that a candidate may lie below the floor


@dataclass(frozen=True)
class Likeness:
    """Which samples are alike in one respect.

    Attributes:
        basis: `text`, `near-text` or `gradient`.
        copies: (n_samples,) row of the first sample that is entirely the same, itself where there
            is none before; -1 where it cannot be compared.
        one, other: (n_pairs,) rows, each the first of its copies, one < other.
        score: (n_pairs,) float32, descending: cosine or Jaccard similarity, exact.
        floor: pairs below it are not listed.
        seen: (n_samples,) by first copy, the threshold from which on all pairs of its group were
            looked at, above 1 for none; None where that is so at every threshold.
    """

    basis: str
    copies: np.ndarray
    one: np.ndarray
    other: np.ndarray
    score: np.ndarray
    floor: float
    seen: np.ndarray | None = None


def gradient_pairs(
    trajectories: Trajectories,
    along: np.ndarray | None,
    graph: Graph,
    sketches: np.ndarray,
    *,
    exact: bool,
    progress: Progress | None = None,
) -> Likeness:
    """The pairs whose trajectories have a cosine of at least the floor.

    Args:
        trajectories: of the pool.
        along: (n_samples, n_checkpoints) what of each row lies along what is removed, or None.
        graph: over the sketches.
        sketches: (n_samples, width).
        exact: whether the sketches are whole trajectories, so that nothing is estimated.
        progress: told now and then.
    """
    error = 0.0 if exact else _MARGIN * (1 - FLOOR**2) / np.sqrt(sketches.shape[1])
    seen = np.zeros(len(sketches))
    one, other, floor = candidates(graph, sketches, FLOOR - error, MOST_PAIRS, seen)
    floor = max(FLOOR, floor + error)
    score = cosines(trajectories, along, one, other, progress)
    kept = np.flatnonzero(score >= floor)
    order = kept[np.lexsort((other[kept], one[kept], -score[kept]))]
    # Whoever is alike in full dimension is hardly less alike by this error in the sketches.
    seen += error
    return Likeness("gradient", graph.copies, one[order], other[order], score[order], floor, seen)


def candidates(
    graph: Graph,
    sketches: np.ndarray,
    floor: float,
    most: int,
    seen: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Pairs (one < other) of rows whose sketches have a cosine above `floor`, or the `most` best.

    Pairs of the graph; and since a list of neighbours is short, all pairs within the groups of up
    to 2,000 that these form, while there is room. The floor comes back raised where the lists
    alone hold too many.

    Args:
        graph: over the sketches.
        sketches: (n_samples, width).
        floor: the lowest cosine of two sketches.
        most: so many pairs at most.
        seen: (n_samples,) out: the cosine of sketches from which on all pairs of a row's group
            were looked at.
    """
    n_points, k = graph.neighbours.shape
    a = np.repeat(np.arange(n_points), k)
    b = graph.neighbours.ravel().astype(np.int64)
    kept = (graph.cosines.ravel() >= floor) & (b >= 0)
    codes = _codes(a[kept], b[kept], n_points)
    points = graph.points

    def compare(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return _sketch_cosines(sketches, points[one], points[other])

    score = compare(codes // max(n_points, 1), codes % max(n_points, 1))
    levels = [floor + level for level in _LEVELS]
    codes, score, whole = completed(codes, score, n_points, levels, compare, most)
    if seen is not None:
        seen[points] = whole
    if len(codes) > most:
        best = np.argpartition(-score, most)[: most + 1]
        floor = float(score[best].min())
        codes = codes[score > floor]
    return points[codes // n_points], points[codes % n_points], floor


def _codes(a: np.ndarray, b: np.ndarray, n: int) -> np.ndarray:
    """Pairs as single numbers, each once, the lower first."""
    return np.unique(np.minimum(a, b) * n + np.maximum(a, b))


def _sketch_cosines(sketches: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    out = np.empty(len(one), np.float32)
    for start in range(0, len(one), 65_536):
        here = slice(start, start + 65_536)
        out[here] = np.einsum("ij,ij->i", sketches[one[here]], sketches[other[here]])
    return out


def cosines(
    trajectories: Trajectories,
    along: np.ndarray | None,
    one: np.ndarray,
    other: np.ndarray,
    progress: Progress | None = None,
) -> np.ndarray:
    """Cosines (n_pairs,) float32 of trajectories in full dimension, from the stored rows."""
    rows = np.unique(np.concatenate([one, other]))
    left = np.concatenate([rows, one])
    right = np.concatenate([rows, other])
    total = np.zeros(len(left))
    for t, (parts, eta) in enumerate(zip(trajectories.parts, trajectories.eta, strict=True)):
        found = _products(parts, left, right)
        if along is not None:
            found -= along[left, t].astype(np.float64) * along[right, t]
        total += eta * found
        if progress:
            progress(t + 1, len(trajectories.parts), f"{len(one):,} pairs in full dimension")
    lengths = np.sqrt(np.maximum(total[: len(rows)], 1e-30))
    own = lengths[np.searchsorted(rows, one)] * lengths[np.searchsorted(rows, other)]
    return np.clip(total[len(rows) :] / own, -1.0, 1.0).astype(np.float32)


def few_cosines(store: Store, one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of a few pairs, held in memory: (n_pairs,) whole, (n_pairs, n_checkpoints) by part.

    Both float64, from the stored rows in full dimension; NaN where one of the two has no length.
    """
    left, right = _few_rows(store, one), _few_rows(store, other)
    product, mine, its = (
        np.einsum("ntd,ntd->nt", a, b) for a, b in ((left, right), (left, left), (right, right))
    )
    eta = step_weights(store.checkpoints)
    return _cosine(product @ eta, (mine @ eta) * (its @ eta)), _cosine(product, mine * its)


def _few_rows(store: Store, rows: np.ndarray) -> np.ndarray:
    """(n, n_checkpoints, dim) float64 unit gradients; only files that hold some are opened."""
    starts = np.cumsum([0] + [part.rows for part in store.manifest.parts])
    found = np.empty((len(rows), len(store.checkpoints), store.dim))
    part_of = np.searchsorted(starts, rows, side="right") - 1
    for part in np.unique(part_of).tolist():
        mine = np.flatnonzero(part_of == part)
        for t in range(len(store.checkpoints)):
            found[mine, t] = store.part_rows(part, t)[0][rows[mine] - starts[part]]
    return found


def _cosine(product: np.ndarray, squares: np.ndarray) -> np.ndarray:
    known = np.isfinite(squares) & (squares > 0)
    out = np.full(product.shape, np.nan)
    return np.clip(np.divide(product, np.sqrt(squares), out=out, where=known), -1.0, 1.0)


def _products(parts: tuple[np.ndarray, ...], left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """<row left[p], row right[p]> of one checkpoint, pair of files after pair of files."""
    from gtp_core.neighbors import loops

    starts = np.cumsum([0] + [len(rows) for rows in parts])
    of_left = np.searchsorted(starts, left, side="right") - 1
    of_right = np.searchsorted(starts, right, side="right") - 1
    files = of_left * len(parts) + of_right
    order = np.argsort(files, kind="stable")
    out = np.empty(len(left))
    edges = np.flatnonzero(np.diff(files[order], prepend=-1))
    for mine in np.split(order, edges[1:]) if len(order) else []:
        x, y = of_left[mine[0]], of_right[mine[0]]
        one, other = left[mine] - starts[x], right[mine] - starts[y]
        bits = parts[x].view(np.uint16), parts[y].view(np.uint16)
        found = np.empty(len(mine))

        def work(
            begin: int,
            end: int,
            bits: tuple[np.ndarray, np.ndarray] = bits,
            one: np.ndarray = one,
            other: np.ndarray = other,
            found: np.ndarray = found,
        ) -> None:
            here = slice(begin, end)
            loops.pair_products(*bits, one[here], other[here], loops.HALVES, found[here])

        in_threads(work, len(mine), at_once=256)
        out[mine] = found
    return out

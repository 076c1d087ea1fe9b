"""Pairs of samples that are alike: found in the graph, their cosines taken in full dimension."""

from dataclasses import dataclass

import numpy as np

from gtp_core.neighbors.graph import Graph
from gtp_core.store import Progress, Store
from gtp_core.trajectories import Trajectories, in_threads, step_weights

FLOOR = 0.8
"""The lowest cosine of a pair that is kept: no threshold goes below it."""

MOST_PAIRS = 1_000_000
_LEVELS = (0.0, 0.05, 0.1, 0.15, 0.18)  # above the floor: where groups are completed
_WHOLE = 200  # members up to which all pairs of a group are looked at
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
    """

    basis: str
    copies: np.ndarray
    one: np.ndarray
    other: np.ndarray
    score: np.ndarray
    floor: float


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
    one, other, floor = candidates(graph, sketches, FLOOR - error, MOST_PAIRS)
    floor = max(FLOOR, floor + error)
    score = cosines(trajectories, along, one, other, progress)
    kept = np.flatnonzero(score >= floor)
    order = kept[np.lexsort((other[kept], one[kept], -score[kept]))]
    return Likeness("gradient", graph.copies, one[order], other[order], score[order], floor)


def candidates(
    graph: Graph, sketches: np.ndarray, floor: float, most: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Pairs (one < other) of rows whose sketches have a cosine above `floor`, or the `most` best.

    Pairs of the graph; and since a list of neighbours is short, all pairs within every group of up
    to 200 that these form. The floor comes back raised where there were too many.
    """
    n_points, k = graph.neighbours.shape
    a = np.repeat(np.arange(n_points), k)
    b = graph.neighbours.ravel().astype(np.int64)
    kept = (graph.cosines.ravel() >= floor) & (b >= 0)
    codes = _codes(a[kept], b[kept], n_points)
    score = _sketch_cosines(sketches, graph.points, codes, n_points)
    for level in _LEVELS:
        near = codes[score >= floor + level]
        more = np.setdiff1d(_within(near, n_points), codes, assume_unique=True)
        found = _sketch_cosines(sketches, graph.points, more, n_points)
        codes = np.concatenate([codes, more[found >= floor]])
        score = np.concatenate([score, found[found >= floor]])
    if len(codes) > most:
        best = np.argpartition(-score, most)[: most + 1]
        floor = float(score[best].min())
        codes = codes[score > floor]
    points = graph.points
    return points[codes // n_points], points[codes % n_points], floor


def _codes(a: np.ndarray, b: np.ndarray, n: int) -> np.ndarray:
    """Pairs as single numbers, each once, the lower first."""
    return np.unique(np.minimum(a, b) * n + np.maximum(a, b))


def _sketch_cosines(
    sketches: np.ndarray, points: np.ndarray, codes: np.ndarray, n: int
) -> np.ndarray:
    out = np.empty(len(codes), np.float32)
    for start in range(0, len(codes), 65_536):
        some = codes[start : start + 65_536]
        left, right = sketches[points[some // n]], sketches[points[some % n]]
        out[start : start + len(some)] = np.einsum("ij,ij->i", left, right)
    return out


def _within(codes: np.ndarray, n: int) -> np.ndarray:
    """All pairs within the groups of 3 to 200 points that these pairs connect, as codes."""
    labels, nodes = components(codes // n, codes % n)
    order = np.argsort(labels, kind="stable")
    edges = np.flatnonzero(np.diff(labels[order], prepend=-1))
    found = [np.empty(0, np.int64)]
    for members in np.split(nodes[order], edges[1:]) if len(nodes) else []:
        if 3 <= len(members) <= _WHOLE:
            a, b = np.triu_indices(len(members), 1)
            found.append(members[a] * n + members[b])
    return np.unique(np.concatenate(found))


def components(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the connected groups, and the nodes (ascending) they are of."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes, places = np.unique(np.concatenate([one, other]), return_inverse=True)
    left, right = np.split(places, 2)
    shape = (len(nodes), len(nodes))
    if not len(nodes):
        return np.empty(0, np.int64), nodes
    links = coo_array((np.ones(len(left), np.int8), (left, right)), shape=shape)
    return connected_components(links, directed=False)[1].astype(np.int64), nodes


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

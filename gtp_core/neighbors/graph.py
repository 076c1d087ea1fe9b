"""The one nearest-neighbour graph over the trajectories, shared by duplicates and the map.

Samples with exactly the same trajectory are one point of it: a hundred copies would otherwise fill
each other's lists of neighbours, and the search would never leave them.
"""

from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 15
_EXACT = 8192  # points up to which every pair is compared; above, nearest-neighbour descent
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Graph:
    """The nearest neighbours of every distinct trajectory.

    Attributes:
        copies: (n_samples,) row of the first sample with exactly this trajectory; -1 where there
            is none to compare (invalid gradients).
        points: (n_points,) rows of the distinct trajectories, ascending.
        neighbours: (n_points, k) int32 places in `points`, nearest first, without itself; -1 where
            there are fewer.
        cosines: (n_points, k) float32 of the sketches: estimates, which nothing reports.
    """

    copies: np.ndarray
    points: np.ndarray
    neighbours: np.ndarray
    cosines: np.ndarray


def build_graph(
    sketches: np.ndarray, usable: np.ndarray, *, seed: int = 0, k: int = NEIGHBOURS
) -> Graph:
    """The graph over sketches (n_samples, width) of unit length.

    Exact up to 8,192 points, by nearest-neighbour descent (Dong, Moses, Li 2011; pynndescent)
    above; the same seed gives the same graph.

    Args:
        usable: (n_samples,) bool: the samples that have a trajectory.
    """
    copies = same_rows(sketches, usable)
    points = np.flatnonzero(copies == np.arange(len(copies)))
    vectors = sketches[points]
    k = min(k, max(len(points) - 1, 0))
    if k == 0:
        return Graph(copies, points, *_none(len(points)))
    found = _exact(vectors, k) if len(points) <= _EXACT else _descent(vectors, k, seed)
    return Graph(copies, points, *found)


def same_rows(rows: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """(n,) index of the first row with the same bytes; -1 where not usable."""
    words = np.ascontiguousarray(rows).view(np.uint32)
    drawn = np.random.default_rng(0).integers(0, 2**63, words.shape[1], dtype=np.uint64)
    factors = np.asarray(drawn | np.uint64(1))
    # One product after another, modulo 2^64: rows that differ get the same code by a chance of
    # 2^-63, and two rows are compared in full before they count as one.
    codes = np.zeros(len(rows), np.uint64)
    for column, factor in enumerate(factors):
        codes += words[:, column].astype(np.uint64) * factor
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    candidate = first[inverse]
    if not usable.all():
        order = np.full(len(first), len(rows), np.int64)
        np.minimum.at(order, inverse[usable], np.flatnonzero(usable))
        candidate = np.where(usable, order[inverse], -1)
    other = usable & (candidate != np.arange(len(rows)))
    differs = np.flatnonzero(other)
    differs = differs[(rows[differs] != rows[candidate[differs]]).any(axis=1)]
    candidate[differs] = differs
    return np.asarray(candidate, np.int64)


def _none(n_points: int) -> tuple[np.ndarray, np.ndarray]:
    return np.empty((n_points, 0), np.int32), np.empty((n_points, 0), np.float32)


def _exact(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Every pair compared, in blocks; ties to the lower place."""
    neighbours = np.empty((len(vectors), k), np.int32)
    cosines = np.empty((len(vectors), k), np.float32)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        block = vectors[start : start + _ROWS_AT_ONCE] @ vectors.T
        rows = np.arange(len(block))
        block[rows, start + rows] = -np.inf
        best = np.sort(np.argpartition(-block, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(-np.take_along_axis(block, best, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, axis=1)
        neighbours[start : start + len(block)] = best
        cosines[start : start + len(block)] = np.take_along_axis(block, best, axis=1)
    return neighbours, cosines


def _descent(vectors: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """By pynndescent: one list too long, because a point is its own nearest neighbour."""
    from pynndescent import NNDescent

    index = NNDescent(
        vectors, metric="cosine", n_neighbors=k + 1, random_state=seed, low_memory=True
    )
    found, distances = index.neighbor_graph
    own = found == np.arange(len(found))[:, None]
    # Without itself where it is listed, else without the farthest.
    own[~own.any(axis=1), -1] = True
    neighbours = found[~own].reshape(len(found), k).astype(np.int32)
    cosines = 1 - distances[~own].reshape(len(found), k)
    return neighbours, np.asarray(cosines, np.float32)

"""Trajectories made short enough for a search: a seeded projection that keeps cosines nearly.

Every number gets a sign drawn from the seed, and the trajectory is folded: all numbers at the same
place modulo `width` are added up (a count sketch; Charikar, Chen, Farach-Colton 2002, with the
places in turn, which memory likes). The cosine of two sketches is that of the trajectories with a
standard error of about (1 - cosine^2) / sqrt(width). It only decides which pairs are looked at.
"""

import numpy as np

from gtp_core.store import Progress
from gtp_core.trajectories import Trajectories, in_threads, products

_MANY = 20_000  # samples above which the search needs short sketches
_WIDTHS = (1024, 256)  # of a sketch in a small pool and in a large one
_ROWS_AT_ONCE = 512


def width_for(n_samples: int, dim: int) -> int:
    """How long a sketch is; trajectories that are no longer are taken as they are."""
    return min(dim, _WIDTHS[n_samples > _MANY])


def sketch(
    trajectories: Trajectories,
    direction: np.ndarray | None,
    *,
    width: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sketches (n_samples, width) float32, and what of each row lies along what is removed.

    Args:
        trajectories: of the pool, read once.
        direction: (n_checkpoints, dim) unit directions to remove, or None.
        width: length of a sketch; the whole trajectory where it is no longer.
        seed: of the signs.
        progress: told after every part.

    Returns:
        the sketches, of unit length unless they are zero; along (n_samples, n_checkpoints).
    """
    n_samples, n_parts = trajectories.n_samples, len(trajectories.parts)
    out = np.zeros((n_samples, width), np.float32)
    along = np.zeros((n_samples, n_parts), np.float32)
    dim = trajectories.parts[0][0].shape[1]
    signs = _signs(n_parts * dim, width, seed).reshape(n_parts, dim)
    total = sum(map(len, trajectories.parts))
    done = 0
    for t, parts in enumerate(trajectories.parts):
        factors = signs[t] * np.float32(np.sqrt(trajectories.eta[t]))
        place, start = t * dim % width, 0
        for rows in parts:
            here = slice(start, start + len(rows))
            _fold(rows, factors, place, out[here])
            if direction is not None and len(rows):
                along[here, t] = products(rows, direction[t][None])[:, 0]
            start += len(rows)
            done += 1
            if progress:
                progress(done, total, "sketching trajectories")
        if direction is not None:
            lean = np.zeros((1, width), np.float32)
            _fold(direction[t][None].astype(np.float16), factors, place, lean)
            out -= along[:, t, None] * lean
    lengths = np.linalg.norm(out, axis=1, keepdims=True)
    out /= np.maximum(lengths, np.float32(1e-20))
    return out, along


def _signs(count: int, width: int, seed: int) -> np.ndarray:
    """Signs (count,) float32; all 1 where nothing is folded."""
    if count <= width:
        return np.ones(count, np.float32)
    drawn = np.random.default_rng(seed).integers(0, 2, count, dtype=np.int8)
    return np.asarray(2 * drawn - 1, np.float32)


def _fold(rows: np.ndarray, factors: np.ndarray, place: int, out: np.ndarray) -> None:
    """Add rows (n, dim) times factors (dim,) to out (n, width), round and round from a place."""
    width = out.shape[1]
    padded = -(-(place + rows.shape[1]) // width) * width

    def add(begin: int, end: int) -> None:
        for first in range(begin, end, _ROWS_AT_ONCE):
            last = min(first + _ROWS_AT_ONCE, end)
            wide = np.zeros((last - first, padded), np.float32)
            wide[:, place : place + rows.shape[1]] = rows[first:last]
            wide[:, place : place + rows.shape[1]] *= factors
            out[first:last] += wide.reshape(last - first, -1, width).sum(axis=1)

    in_threads(add, len(rows), at_once=_ROWS_AT_ONCE)

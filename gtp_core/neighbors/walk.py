"""The loop through all duplicates, best first: who stays, and who goes for whom."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

_FEW = 3000  # rows up to which the compiler takes longer to load than the loop as it stands


def walker(n_rows: int) -> Callable[..., None]:
    """`walk`, compiled where there are many rows."""
    return walk if n_rows <= _FEW else _compiled()


@cache
def _compiled() -> Any:
    import numba as nb

    return nb.njit(walk, nogil=True, cache=True)


def walk(
    order: np.ndarray,
    n_fixed: int,
    copies: np.ndarray,
    starts: np.ndarray,
    alike: np.ndarray,
    scores: np.ndarray,
    apart: np.ndarray,
    keeper: np.ndarray,
    basis: np.ndarray,
    score: np.ndarray,
) -> None:
    """The kept row that stands for each row that goes, on which basis, how alike; -1 who stays.

    Of several kept rows it is the most like on the first basis that has one; ties to the lower.

    Args:
        order: rows, best first.
        n_fixed: so many of the first stay whatever they are like.
        copies: (n_bases, n) the first copy of every row, -1 where it cannot be compared.
        starts: (n_bases, n + 1) where the list of every first copy begins in `alike`.
        alike: first copies that are like it, the most first; scores: how much.
        apart: codes `one * n + other` of pairs that do not stand for each other, ascending.
        keeper, basis, score: (n,) out.
    """
    n_bases, n = copies.shape
    # Kept rows by first copy, as linked lists.
    head, after = np.full((n_bases, n), -1), np.full((n_bases, n), -1)
    for place in range(len(order)):
        row = order[place]
        for b in range(n_bases if place >= n_fixed else 0):
            own, best, most = copies[b, row], -1, 1.0
            if own < 0:
                continue
            for p in range(starts[b, own] - 1, starts[b, own + 1]):
                itself = p < starts[b, own]
                copy, how = (own, 1.0) if itself else (alike[p], scores[p])
                if best >= 0 and how < most:
                    break
                other = head[b, copy]
                while other >= 0:
                    code = min(row, other) * n + max(row, other)
                    at = np.searchsorted(apart, code) if len(apart) else 0
                    free = at >= len(apart) or apart[at] != code
                    if free and (best < 0 or other < best):
                        best, most = other, how
                    other = after[b, other]
            if best >= 0:
                keeper[row], basis[row], score[row] = best, b, most
                break
        if keeper[row] < 0:
            for b in range(n_bases):
                own = copies[b, row]
                if own >= 0:
                    after[b, row] = head[b, own]
                    head[b, own] = row

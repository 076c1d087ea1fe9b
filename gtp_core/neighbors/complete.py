"""Groups completed: lists of neighbours are short, so all pairs of a group are looked at."""

from collections.abc import Callable, Sequence

import numpy as np

Compare = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""How alike rows are, pair by pair: (n_pairs,), (n_pairs,) -> (n_pairs,)."""

WHOLE = 2000
"""Members up to which all pairs of a group are looked at."""

_LOOKS = 10_000_000  # pairs looked at in all: half a minute where texts are long
_AT_ONCE = 262_144  # pairs
_NEVER = 2.0  # above any similarity


def completed(
    codes: np.ndarray,
    score: np.ndarray,
    n: int,
    levels: Sequence[float],
    compare: Compare,
    room: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs, with all others of the groups of up to 2,000 points that they connect.

    Level by level, the lowest first, and the smallest groups of a level first: as long as no more
    than ten million pairs are looked at, and no more than `room` are known.

    Args:
        codes: pairs `one * n + other` (one < other), each once; score: how alike they are.
        n: how many points there are.
        levels: similarities, ascending, that connect groups; pairs below the first are not kept.
        compare: how alike points are, pair by pair.
        room: how many pairs there may be.

    Returns:
        codes, score, and (n,) the level from which on all pairs of a point's group were looked
        at; 2 where of no group.
    """
    from_level = np.full(n, _NEVER)
    looks = _LOOKS
    for level in levels:
        groups = [some for some in _groups(codes[score >= level], n) if from_level[some[0]] > level]
        known = np.sort(codes)
        sizes = np.array([len(some) for some in groups], np.int64)
        pairs = np.cumsum(np.concatenate([[0], sizes * (sizes - 1) // 2]))
        fit = int(((sizes <= WHOLE) & (pairs[1:] <= looks)).sum())
        at = 0
        while at < fit:
            # As many as surely have room, one at least, which may turn out to have none.
            most = min(_AT_ONCE, room - len(codes))
            end = max(at + 1, int(np.searchsorted(pairs, pairs[at] + most, side="right")) - 1)
            some = groups[at : min(end, fit)]
            more = _without(_pairs_of(some, n), known)
            found = compare(more // n, more % n)
            kept = found >= levels[0]
            if len(codes) + kept.sum() > room:
                break
            codes = np.concatenate([codes, more[kept]])
            score = np.concatenate([score, found[kept]])
            from_level[np.concatenate(some)] = level
            at += len(some)
        looks -= int(pairs[at])
        # Who is in no group of three here has no pair that was not looked at either.
        alone = from_level > level
        alone[np.concatenate([np.empty(0, np.int64), *groups])] = False
        from_level[alone] = level
    return codes, score, from_level


def _without(codes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The codes that are not among the known ones, which ascend."""
    if not len(known):
        return codes
    at = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return codes[known[at] != codes]


def _groups(codes: np.ndarray, n: int) -> list[np.ndarray]:
    """The groups of three points or more that these pairs connect, the smallest first."""
    labels, nodes = components(codes // n, codes % n)
    order = np.argsort(labels, kind="stable")
    edges = np.flatnonzero(np.diff(labels[order], prepend=-1))
    found = np.split(nodes[order], edges[1:]) if len(nodes) else []
    return sorted((some for some in found if len(some) >= 3), key=len)


def _pairs_of(groups: list[np.ndarray], n: int) -> np.ndarray:
    """All pairs within groups (members ascending), as codes."""
    found = [np.empty(0, np.int64)]
    for some in groups:
        a, b = np.triu_indices(len(some), 1)
        found.append(some[a] * n + some[b])
    return np.concatenate(found)


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

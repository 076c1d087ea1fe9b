"""Methods that cover the pool, whatever the target: one sample for many that are alike.

Both work on a ground set of bounded size, the candidates of largest influence (all of them in a
smaller pool), because they need the distances between all of its atoms: at 12,000 samples 0.54 GiB,
made in blocks of rows, so that nothing else grows with the length of an atom.
"""

from heapq import heapify, heappop, heappush

import numpy as np

from gtp_core.atoms import Atoms, Problem, strongest, weighted_sums
from gtp_core.errors import BudgetError
from gtp_core.methods.register import OnRound, Settings, equal_weights, finish, method
from gtp_core.methods.steps import largest_first, open_to
from gtp_core.pursuit import Selection, Stop, best_multiple

GROUND = 12_000
_BLOCK_BYTES = 32 * 2**20  # of float64 atoms, two blocks at a time
_BLOCK_ROWS = 1024
_SAME = 1e-12  # a squared distance below this share of the squared lengths is none


@method("craig", passes="1, and the atoms of 12,000 samples")
def craig(
    problem: Problem,
    count: int,
    settings: Settings,
    on_round: OnRound | None,
) -> Selection:
    """Cover the 12,000 most influential samples by facility location (CRAIG).

    Each time the sample enters that brings all others nearest to a chosen one (Mirzasoleiman,
    Bilmes, Leskovec 2020), by lazy evaluation (Minoux 1978) of exact gains. Beyond the choice of
    the ground set the target plays no part. A sample weighs as CRAIG weighs it, by how many it
    stands for, all times the one number that fits the target best. Copies of a chosen sample add
    nothing and are not taken.
    """
    ground, distances = _ground(problem, "craig", count)
    support, sizes = _facilities(problem, ground, distances, count)
    total = weighted_sums(problem.atoms, support, sizes[None].astype(np.float64))[0]
    weights = sizes * best_multiple(total, problem.target)
    support, weights = largest_first(support, weights)
    return finish(problem, "craig", count, support, weights, stop=Stop.RANKED)


@method("k-center", passes="1, and the atoms of 12,000 samples")
def k_center(
    problem: Problem,
    count: int,
    settings: Settings,
    on_round: OnRound | None,
) -> Selection:
    """Spread over the 12,000 most influential samples, always to the farthest (k-center).

    Farthest-first traversal (Gonzalez 1985; core-sets of Sener, Savarese 2018) from the pinned
    samples, or else from the most influential one. Copies of a chosen sample are not taken.
    """
    ground, distances = _ground(problem, "k-center", count)
    support = problem.pinned
    nearest = distances[np.isin(ground, support)].min(axis=0, initial=np.iinfo(np.int32).max)
    while len(support) < count:
        far = nearest if len(support) else problem.influence[ground]
        found = strongest(far, open_to(problem, support)[ground], 1, positive=len(support) > 0)
        if len(found) == 0:
            break
        support = np.append(support, ground[found])
        nearest = np.minimum(nearest, distances[found[0]])
    return equal_weights(problem, "k-center", count, support)


def _ground(problem: Problem, name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample indices of the ground set (g,), ascending, and their distances (g, g) int32."""
    candidates = problem.atoms.candidates
    if count > GROUND:
        raise BudgetError(
            f"budget={count:,} samples; {name} covers the {GROUND:,} most influential samples. "
            "Take a smaller budget, or top-k."
        )
    best = strongest(problem.influence, candidates, GROUND, positive=False)
    ground = np.union1d(problem.pinned, best).astype(np.int64)
    return ground, distances_between(problem.atoms, ground)


def distances_between(atoms: Atoms, index: np.ndarray) -> np.ndarray:
    """Distances (len(index), len(index)) int32, 2**30 being the largest that lengths allow.

    Whole numbers, so that sums are exact: two samples that are each other's nearest gain the same,
    which rounding would decide. Their step is finer than that of float32; copies have none.
    """
    height = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // (8 * atoms.dim)))
    blocks = [slice(at, at + height) for at in range(0, len(index), height)]
    squares = np.concatenate([_squares(_rows(atoms, index[block])) for block in blocks])
    steps = 2.0**30 / max(2 * float(np.sqrt(squares.max(initial=0))), 1e-300)
    out = np.zeros((len(index), len(index)), np.int32)
    for place, top in enumerate(blocks):
        upper = _rows(atoms, index[top])
        for left in blocks[place:]:
            lower = upper if left == top else _rows(atoms, index[left])
            both = squares[top, None] + squares[left]
            apart = both - 2 * (upper @ lower.T)
            block = np.rint(steps * np.sqrt(np.where(apart > _SAME * both, apart, 0)))
            out[top, left] = block
            out[left, top] = block.T if left != top else np.minimum(block, block.T)
    return out


def _rows(atoms: Atoms, index: np.ndarray) -> np.ndarray:
    return atoms.rows(index).astype(np.float64)


def _squares(rows: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", rows, rows)


def _facilities(
    problem: Problem, ground: np.ndarray, distances: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The chosen samples, pinned ones first, and how many of the ground set each stands for."""
    nearest = np.full(len(ground), distances.max(initial=0) or 1, np.int32)
    owner = np.zeros(len(ground), np.int64)
    chosen: list[int] = []

    def gain(place: int) -> int:
        return int(np.maximum(nearest - distances[place], 0).sum(dtype=np.int64))

    def take(place: int) -> None:
        owner[distances[place] < nearest] = len(chosen)
        np.minimum(nearest, distances[place], out=nearest)
        chosen.append(place)

    for place in np.searchsorted(ground, problem.pinned).tolist():
        take(place)
    free = open_to(problem, ground[chosen])[ground]
    queue = [(-gain(place), place) for place in np.flatnonzero(free).tolist()]
    heapify(queue)
    while queue and len(chosen) < count:
        _, place = heappop(queue)
        if not free[place]:
            continue
        now = (-gain(place), place)
        if queue and now > queue[0]:  # what it was worth before, others may be worth more than now
            heappush(queue, now)
        elif now[0] < 0:
            take(place)
            free = open_to(problem, ground[chosen])[ground] if problem.caps else free
        else:
            break
    return ground[chosen], np.bincount(owner, minlength=len(chosen)).astype(np.float64)

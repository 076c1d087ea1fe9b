"""How large the steps of a pursuit are: how much a pass fetches, and when rounds go on."""

from dataclasses import dataclass, replace
from math import inf

from gtp_core.estimate import HEADROOM, MOST_PRODUCTS

_MOST_WORK = 4e11  # multiplications for inner products; beyond, rows are kept instead
_MOST_BYTES = 3 << 30  # of rows kept
_REACH = 4  # atoms fetched in a pass, in multiples of the budget; the paper's 2 enter a round
_CHEAP_PASS = 2e9  # numbers in all atoms
_CHEAPEST_PASS = 2e8  # a pass takes as long as fitting some hundred weights
_LIGHT = 4096  # rows of 32,768 numbers are fetched in a second
_FEWEST = 64  # among very many atoms fewer than 1/64 of the budget do not enter alone


@dataclass(frozen=True)
class Pace:
    """The numbers of a pursuit of `budget` atoms of length `dim`.

    Attributes:
        few: all inner products of the atoms met are written down; else only rows are kept.
        room: the most atoms met at once.
        first, later: atoms that the first pass fetches, and later ones.
        grows: the support grows first, a pass for every step, because passes are cheap.
        restarts: the support may grow again, one atom a pass, because they cost next to nothing.
        foresees: what a round wins is foreseen before it is worked out.
        fewest: fewer atoms do not enter alone.
        progress: a round must lower the objective by this share.
        pass_progress: and all rounds after a pass by this, or it was the last.
        restless: where they did by this share, a round that fails ends them, and the next pass
            comes before fewer atoms are tried.
        promise: the first round after a later pass must foresee this share to be tried.
        digits: to which guessed weights are compared.
    """

    few: bool
    room: int
    first: int
    later: int
    grows: bool
    restarts: bool
    foresees: bool
    fewest: int
    progress: float
    pass_progress: float
    restless: float
    promise: float
    digits: int


def pace_of(budget: int, shape: tuple[int, int], n_pinned: int = 0) -> Pace:
    """The pace for so many atoms of a matrix (n_samples, dim)."""
    dim, cheap = shape[1], shape[0] * shape[1] <= _CHEAP_PASS
    if keeps_products(budget, dim):
        room = max(MOST_PRODUCTS, 2 * budget + n_pinned)
        first = min(_REACH * budget, max(2 * budget, room - budget))
        pace = _with_products(room, first, min(first, max(budget, 1)), grows=cheap)
        return replace(pace, restarts=shape[0] * dim <= _CHEAPEST_PASS)
    once = max(budget, 1)
    pace = Pace(
        few=False,
        room=max(3 * budget, _MOST_BYTES // (2 * dim), 2 * budget + n_pinned),
        first=once,
        later=once,
        grows=cheap,
        restarts=False,
        foresees=False,
        fewest=max(1, budget // _FEWEST),
        progress=1e-3,
        pass_progress=1e-3,
        restless=inf,
        promise=1e-3,
        digits=5,
    )
    if cheap:
        return pace
    # Of the strongest at first few get a weight, because they resemble each other.
    first, later = (min(once, max(budget // part, _LIGHT)) for part in (4, 3))
    many = budget > _LIGHT  # tries cost a pass, not next to nothing
    return replace(
        pace,
        first=first,
        later=later,
        foresees=True,
        # A pass wins about a fifth of what the one before it won.
        pass_progress=2e-2 if many else 3e-3,
        restless=3e-2,
        promise=3e-3 if many else 1e-3,
    )


def closing_pace(budget: int, dim: int, n_pinned: int = 0) -> Pace | None:
    """The pace at the end where rows alone were kept; None where there are too many of them.

    Of many atoms a single one brings less: at 1e-4 a round, 2,000 of 30,000 x 8,192 ended 0.015 %
    above orthogonal matching pursuit, at 3e-5 0.10 % below.
    """
    met = 2 * budget + n_pinned
    if not _affordable(met, dim):
        return None
    pace = _with_products(max(MOST_PRODUCTS, met), budget, budget, grows=False)
    return replace(pace, progress=3e-5, promise=3e-5)


def _with_products(room: int, first: int, later: int, *, grows: bool) -> Pace:
    return Pace(
        few=True,
        room=room,
        first=first,
        later=later,
        grows=grows,
        restarts=False,
        foresees=False,
        fewest=1,
        progress=1e-4,
        pass_progress=1e-3,
        restless=inf,
        promise=1e-4,
        digits=12,
    )


def keeps_products(budget: int, dim: int) -> bool:
    """Whether the inner products of all atoms met are few enough to be written down."""
    return _affordable(_REACH * budget, dim)


def _affordable(met: int, dim: int) -> bool:
    return met**2 * dim <= _MOST_WORK and met <= MOST_PRODUCTS


def kept_bytes(budget: int, dim: int) -> int:
    """Memory in bytes that the atoms met by a pursuit take: how many may run side by side.

    Where inner products are kept, rows of float64, and a second time while others join them; else
    float16 rows with room for more, and at the end perhaps the best of them with their products.
    """
    if keeps_products(budget, dim):
        return 2 * 8 * _REACH * budget * dim
    rows = round(2 * 3 * HEADROOM * budget * dim)
    return max(rows, 2 * 8 * 2 * budget * dim if closing_pace(budget, dim) else 0)

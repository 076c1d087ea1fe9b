"""How large the steps of a pursuit are: how much a pass fetches, and when rounds go on."""

from dataclasses import dataclass

from gtp_core.estimate import HEADROOM, MOST_PRODUCTS

_MOST_WORK = 4e11  # multiplications for inner products; beyond, rows are kept instead
_MOST_BYTES = 3 << 30  # of rows kept
_REACH = 4  # atoms fetched in a pass, in multiples of the budget; the paper's 2 enter a round
_FEWEST = 64  # among very many atoms fewer than 1/64 of the budget do not enter alone


@dataclass(frozen=True)
class Pace:
    """The numbers of a pursuit of `budget` atoms of length `dim`.

    Attributes:
        few: all inner products of the atoms met are written down; else only rows are kept.
        room: the most atoms met at once.
        first, later: atoms that the first pass fetches, and later ones.
        fewest: fewer atoms do not enter alone.
        progress: a round must lower the objective by this share.
        digits: to which guessed weights are compared.
    """

    few: bool
    room: int
    first: int
    later: int
    fewest: int
    progress: float
    digits: int


def pace_of(budget: int, dim: int, n_pinned: int = 0) -> Pace:
    """The pace for so many atoms of that length."""
    few = keeps_products(budget, dim)
    room = MOST_PRODUCTS if few else max(3 * budget, _MOST_BYTES // (2 * dim))
    room = max(room, 2 * budget + n_pinned)
    reach = _REACH * budget if few else budget
    first = min(reach, max(2 * budget, room - budget))
    return Pace(
        few=few,
        room=room,
        first=first,
        later=min(first, max(budget, 1)),
        fewest=1 if few else max(1, budget // _FEWEST),
        progress=1e-4 if few else 1e-3,
        digits=12 if few else 5,
    )


def keeps_products(budget: int, dim: int) -> bool:
    """Whether the inner products of all atoms met are few enough to be written down."""
    met = _REACH * budget
    return met**2 * dim <= _MOST_WORK and met <= MOST_PRODUCTS


def kept_bytes(budget: int, dim: int) -> int:
    """Memory in bytes that the atoms met by a pursuit take: how many may run side by side.

    Where inner products are kept, rows of float64, and a second time while others join them; else
    float16 rows with room for more.
    """
    if keeps_products(budget, dim):
        return 2 * 8 * _REACH * budget * dim
    return round(2 * 3 * HEADROOM * budget * dim)

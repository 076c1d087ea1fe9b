"""Atoms that a pursuit has met, and exact non-negative ridge weights on some of them.

Two ways to keep them, with the same answers. With few, all inner products are kept and weights end
in exact solves. With many, only the rows are kept, float16 where the store has float16, and a few
hundred directions they share say what their inner products are like: 8,000 atoms of 32,768 numbers
are 0.5 GB where their inner products alone would take a minute.
"""

from gtp_core.estimate.products import MOST_PRODUCTS, ProductsKept
from gtp_core.estimate.rows import RowsKept
from gtp_core.estimate.solve import non_negative_ridge
from gtp_core.estimate.space import HEADROOM
from gtp_core.estimate.steps import Goal
from gtp_core.estimate.threads import on_one_thread
from gtp_core.estimate.working import EXACT, Working, places_of

__all__ = [
    "EXACT",
    "HEADROOM",
    "MOST_PRODUCTS",
    "Goal",
    "ProductsKept",
    "RowsKept",
    "Working",
    "non_negative_ridge",
    "on_one_thread",
    "places_of",
]

"""What the Samples page shows: a selection's verdicts ready to be filtered, ordered and read."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.pursuit import Selection
from gtp_core.report.runs import topk_ranks
from gtp_core.report.verdicts import verdict_table

SIGNS = {
    "chosen": "●",
    "pinned": "★",
    "pruned": "▽",
    "redundant": "≈",
    "misaligned": "↘",
    "duplicate": "×",
    "excluded": "⊘",
    "invalid": "!",
}
"""A sign beside the word of every verdict, so that no colour is needed to tell them apart."""

MARKS = {"pin": "★ pinned", "ban": "⊘ banned"}
CURRENT = (
    "current: row, sample_id, verdict, keeper, influence, proxy, covered, gain, weight, rank, "
    "less_influence, topk_rank, gtp_rank, leaves_at"
)
"""The table that filters and SQL see beside those of the catalog, in words."""

_WIDER = 0.25  # a prepared budget further away than this stands for no tenth


def current_table(
    catalog: Catalog,
    problem: Problem,
    selection: Selection,
    others: Mapping[int, Selection] | None = None,
) -> pl.DataFrame:
    """What became of every sample in a selection, one row each in the pool's order.

    Args:
        catalog: the open catalog.
        problem: what was asked.
        selection: what was chosen.
        others: by budget, what is chosen near this one; a chosen sample that is missing there
            leaves at that budget.

    Returns:
        The columns of `verdict_table`, and row; weight and rank (null where not chosen);
        less_influence, what top-k ranks by, and topk_rank; gtp_rank, by weight, then proxy;
        leaves_at, the budget at which a chosen sample leaves (null where none is known).
    """
    n_samples = problem.atoms.n_samples
    verdicts = verdict_table(catalog, problem, selection)
    weight = np.full(n_samples, np.nan)
    rank = np.zeros(n_samples, np.int64)
    weight[selection.support] = selection.weights
    rank[selection.support] = np.arange(1, len(selection.support) + 1)
    numbers = pl.DataFrame(
        {
            "row": np.arange(n_samples),
            "weight": pl.Series(weight).fill_nan(None),
            "rank": pl.Series(rank).replace(0, None),
            "less_influence": pl.Series(problem.influence.astype(np.float64)).fill_nan(None),
            "topk_rank": topk_ranks(problem),
            "gtp_rank": _places(rank, verdicts["proxy"].fill_nan(None).to_numpy()),
            "leaves_at": _leaves(selection, others or {}, n_samples),
        }
    )
    return pl.concat([numbers.select("row"), verdicts, numbers.drop("row")], how="horizontal")


def _places(rank: np.ndarray, proxy: np.ndarray) -> np.ndarray:
    """(n_samples,) place of every sample from 1: the chosen by rank, then the rest by proxy."""
    late = np.where(rank > 0, rank, np.iinfo(np.int64).max)
    order = np.lexsort((np.arange(len(rank)), -np.nan_to_num(proxy, nan=-np.inf), late))
    places = np.empty(len(rank), np.int64)
    places[order] = np.arange(1, len(rank) + 1)
    return places


def _leaves(selection: Selection, others: Mapping[int, Selection], n_samples: int) -> pl.Series:
    leaves = np.zeros(n_samples, np.int64)
    # The farther first, so that the nearer has the last word.
    for budget in sorted(others, key=lambda near: -abs(near - selection.budget)):
        gone = selection.support[~np.isin(selection.support, others[budget].support)]
        leaves[gone] = budget
    return pl.Series(leaves).replace(0, None)


def tenths(budget: int) -> tuple[int, int]:
    """The budgets a tenth below and above one, at least one sample away."""
    step = max(1, round(budget / 10))
    return max(1, budget - step), budget + step


def prepared_tenths(path: pl.DataFrame, budget: int) -> tuple[int, ...]:
    """The prepared budgets that stand for a tenth less and more; empty if one side has none."""
    known = path.filter(pl.col("method") == "gtp")["budget"].unique().to_list()
    below, above = tenths(budget)
    found = [
        min((one for one in known if side(one)), key=lambda one: abs(one - wanted), default=None)
        for wanted, side in (
            (below, lambda one: (1 - _WIDER) * budget <= one < budget),
            (above, lambda one: budget < one <= (1 + _WIDER) * budget),
        )
    ]
    return tuple(one for one in found if one is not None) if None not in found else ()


def fragile_sentence(selection: Selection, others: Sequence[int], n_leaving: int) -> str:
    """How many of the chosen leave near this budget, in words."""
    budgets = " or ".join(f"{budget:,}" for budget in sorted(others))
    return (
        f"{n_leaving:,} of {len(selection.support):,} chosen samples are gone at a budget of "
        f"{budgets}."
    )


def shown(page: pl.DataFrame, focus: str) -> pl.DataFrame:
    """A page of the working set as people read it: signs beside words, the focused one marked."""
    signs = {verdict: f"{sign} {verdict}" for verdict, sign in SIGNS.items()}
    columns = [
        pl.when(pl.col("sample_id") == focus).then(pl.lit("▶")).otherwise(pl.lit("")).alias(" "),
        "sample_id",
        pl.col("verdict").replace(signs),
        pl.col("mark").replace(MARKS).fill_null("").alias("edit"),
        "weight",
        "gain",
        pl.col("less_influence").alias("influence"),
        pl.col("by_checkpoint").alias("by checkpoint"),
        "topk_rank",
        "source",
        "n_tokens",
        "prompt",
        pl.col("tags").fill_null(""),
    ]
    if "similarity" in page.columns:
        columns.insert(2, "similarity")
    return page.select(columns)

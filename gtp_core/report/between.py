"""What a method would choose at a budget between two prepared ones: at once, and an estimate."""

from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.methods import Settings, used_settings
from gtp_core.pursuit import Round, Selection, Stop
from gtp_core.report.path import samples_asked
from gtp_core.report.quality import HeldOut


def between(
    path: pl.DataFrame, problem: Problem, budget: str, method: str, settings: Settings
) -> tuple[Selection, HeldOut | None] | None:
    """An estimate at a budget that lies between two of a prepared path; None if none is possible.

    Weights are those of the two neighbours, mixed by the logarithm of the budget; the largest stay.
    Residuals and held-out match are mixed in the same way and not measured, and the reason for
    stopping says so. Nothing is read from the store: it takes milliseconds at any size. Top-k
    keeps its order, so its samples are the exact ones.

    Args:
        path: as `prepare_path` gives it.
        problem: that the path was prepared for.
        budget: samples or percent; tokens have no place on the path.
        method: gtp or top-k.
        settings: that the path was prepared with.
    """
    count = samples_asked(problem, budget)
    if count is None:
        return None
    rows = path.filter((pl.col("method") == method) & (pl.col("seed") == 0)).sort("budget")
    below, above = rows.filter(pl.col("budget") < count), rows.filter(pl.col("budget") > count)
    if below.is_empty() or above.is_empty():
        return None
    low, high = below.row(-1, named=True), above.row(0, named=True)
    share = log(count / low["budget"]) / log(high["budget"] / low["budget"])
    found = _mixed(low, high, share, count, problem.pinned)
    return replace(found, settings=used_settings(problem, budget, method, settings)), _held_out(
        low, high, share
    )


def _mixed(
    low: dict[str, Any], high: dict[str, Any], share: float, count: int, pinned: np.ndarray
) -> Selection:
    support, weights = _strongest(low, high, share, count, pinned)
    residual = _between(low, high, share, "residual_weighted")
    everyone = np.union1d(np.array(low["support"]), np.array(high["support"])).astype(np.int64)
    return Selection(
        method=low["method"],
        budget=count,
        support=support,
        weights=weights,
        n_filled=0,
        residual_weighted=residual,
        residual_as_trained=_between(low, high, share, "residual_as_trained"),
        rounds=(Round(len(support), 0, 0, residual),),
        pruned=np.setdiff1d(everyone, support),
        stop=Stop.ESTIMATED,
    )


def _strongest(
    low: dict[str, Any], high: dict[str, Any], share: float, count: int, pinned: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` largest of the mixed weights; a ranking, whose weights are equal, in order."""
    index = np.array(high["support"], np.int64)
    weights = share * np.array(high["weights"], np.float64)
    if low["method"] == "top-k":
        weight = _between(low, high, share, "weight")
        return index[:count], np.full(min(count, len(index)), weight)
    old = np.array(low["support"], np.int64)
    everyone = np.union1d(old, index)
    mixed = np.zeros(len(everyone))
    mixed[np.searchsorted(everyone, index)] = weights
    mixed[np.searchsorted(everyone, old)] += (1 - share) * np.array(low["weights"], np.float64)
    order = np.lexsort((everyone, -mixed, ~np.isin(everyone, pinned)))[:count]
    kept = order[np.lexsort((everyone[order], -mixed[order]))]
    return everyone[kept], mixed[kept]


def _between(low: dict[str, Any], high: dict[str, Any], share: float, name: str) -> float:
    ends = [_weight(row) if name == "weight" else float(row[name]) for row in (low, high)]
    return (1 - share) * ends[0] + share * ends[1]


def _weight(row: dict[str, Any]) -> float:
    return float(row["weights"][0]) if row["weights"] else 0.0


def _held_out(low: dict[str, Any], high: dict[str, Any], share: float) -> HeldOut | None:
    if low["match"] is None or high["match"] is None:
        return None
    ceiling = _between(low, high, share, "ceiling")
    return HeldOut(_between(low, high, share, "match"), ceiling, high["splits"])

"""Do the numbers a selection is judged by foretell the test loss? Correlations over arms."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import rankdata

JUDGES = {
    "residual_weighted": "residual, weighted",
    "residual_as_trained": "residual, as trained",
    "match": "held-out match",
}
"""What a selection is judged by before anything is trained on it, and in words."""

LEAST = 5  # arms: with fewer a correlation says nothing
_INTERVAL = (2.5, 97.5)


def correlations(
    trials: pl.DataFrame,
    *,
    judges: Sequence[str] = tuple(JUDGES),
    within: Sequence[str] = (),
    draws: int = 2000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """How each of the judges goes along with the test loss, over arms.

    The loss of an arm is the mean of its rows (one a seed). Intervals are of 95 %, by a bootstrap
    that draws arms and then, in each arm, seeds: percentiles of the draws in which both vary.
    A loss should fall as the match rises (negative) and rise with a residual (positive).

    Args:
        trials: a row for each arm and seed, with `arm` (or `run`), `loss` and the judges; rows
            where a judge or the loss is null or not finite are left out for that judge.
        within: columns whose values part the rows (several tasks or budgets): means, or for
            Spearman's the means of ranks, are then taken off part by part.

    Returns a row for each judge: `judge`, `n` arms, `spearman` and `pearson` with `_low` and
    `_high`; numbers are None where there are fewer than three arms or one does not vary.

    Sources: Spearman (1904); Pearson (1895); Efron (1979).

    >>> told = {"arm": list("abcdef"), "match": [1, 2, 3, 4, 5, 6], "loss": [6, 5, 4, 3, 1, 2]}
    >>> (one,) = correlations(pl.DataFrame(told), judges=["match"])
    >>> one["n"], round(one["spearman"], 3), one["spearman_high"] < 0
    (6, -0.943, True)
    """
    found = []
    for judge in judges:
        arms = _arms(trials, judge, within)
        values = _Values.of(arms, judge, within)
        row: dict[str, Any] = {"judge": judge, "n": len(arms)}
        for name, ranked in (("spearman", True), ("pearson", False)):
            row |= _with_interval(name, values, ranked=ranked, draws=draws, seed=seed)
        found.append(row)
    return found


def correlation_sentences(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rank correlations in words, each with its interval and whether that holds 0."""
    return [_sentence(row) for row in found if row["spearman"] is not None]


def _sentence(row: Mapping[str, Any]) -> str:
    value, low, high = (row[f"spearman{end}"] for end in ("", "_low", "_high"))
    said = (
        f"Over {row['n']:,} subsets, rank correlation of test loss with {JUDGES[row['judge']]}: "
        f"{value:+.2f} (95 % interval {low:+.2f} to {high:+.2f})"
    )
    if low <= 0 <= high:
        return f"{said}, which may be none at all."
    good = (value < 0) == (row["judge"] == "match")
    return f"{said}: it {'foretells the loss' if good else 'points the wrong way'}."


def _arms(trials: pl.DataFrame, judge: str, within: Sequence[str]) -> pl.DataFrame:
    """A row for each arm: the judge's number, and the list of its losses."""
    name = "arm" if "arm" in trials.columns else "run"
    numbers = [pl.col(column).cast(pl.Float64) for column in (judge, "loss")]
    told = trials.select(*within, name, *numbers)
    told = told.filter(pl.col(judge).is_finite() & pl.col("loss").is_finite())
    return told.group_by(*within, name, maintain_order=True).agg(pl.col(judge).mean(), "loss")


class _Values:
    """Of all arms: x (n,), losses (n, most seeds), how many of them count (n,), parts (n,)."""

    def __init__(
        self, x: np.ndarray, losses: np.ndarray, counts: np.ndarray, parts: np.ndarray
    ) -> None:
        self.x, self.losses, self.counts, self.parts = x, losses, counts, parts

    @classmethod
    def of(cls, arms: pl.DataFrame, judge: str, within: Sequence[str]) -> "_Values":
        counts = arms["loss"].list.len().to_numpy()
        losses = np.zeros((len(arms), int(counts.max(initial=1))))
        for at, row in enumerate(arms["loss"]):
            losses[at, : len(row)] = row.to_numpy()
        parts = np.zeros(len(arms), int)
        if within and len(arms):
            keys = arms.select(pl.struct(*within).rank("dense"))
            parts = keys.to_series().to_numpy().astype(int) - 1
        return cls(arms[judge].to_numpy(), losses, counts, parts)

    def means(self) -> np.ndarray:
        """The mean loss of every arm: (n,)."""
        return self.losses.sum(1) / np.maximum(self.counts, 1)

    def drawn(self, draws: int, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Arms drawn anew in every part, their seeds too: x, loss and part, (draws, n) each."""
        n, most = self.losses.shape
        chosen = np.empty((draws, n), int)
        for part in np.unique(self.parts):
            (places,) = np.nonzero(self.parts == part)
            chosen[:, places] = places[generator.integers(len(places), size=(draws, len(places)))]
        counts = self.counts[chosen]
        total = np.zeros((draws, n))
        for at in range(most):  # as many seeds as the arm has, each drawn from all of them
            which = (generator.random((draws, n)) * counts).astype(int)
            total += np.where(at < counts, self.losses[chosen, which], 0)
        return self.x[chosen], total / counts, self.parts[chosen]


def _with_interval(
    name: str, values: _Values, *, ranked: bool, draws: int, seed: int
) -> dict[str, Any]:
    nothing = {name: None, f"{name}_low": None, f"{name}_high": None}
    if len(values.x) < 3:
        return nothing
    one = _correlation(values.x[None], values.means()[None], values.parts[None], ranked=ranked)[0]
    if not np.isfinite(one):
        return nothing
    drawn = values.drawn(draws, np.random.default_rng(seed))
    spread = _correlation(*drawn, ranked=ranked)
    low, high = np.percentile(spread[np.isfinite(spread)], _INTERVAL)
    return {name: float(one), f"{name}_low": float(low), f"{name}_high": float(high)}


def _correlation(x: np.ndarray, y: np.ndarray, parts: np.ndarray, *, ranked: bool) -> np.ndarray:
    """Of every row of (rows, n), each part about its own mean; NaN where one does not vary.

    A part keeps its places in every draw, so the first row's parts are all rows'.
    """
    x, y = (_centred(values, parts[0], ranked=ranked) for values in (x, y))
    product, lengths = (x * y).sum(1), (x * x).sum(1) * (y * y).sum(1)
    small = lengths <= 1e-24
    return np.where(small, np.nan, product / np.sqrt(np.where(small, 1, lengths)))


def _centred(values: np.ndarray, parts: np.ndarray, *, ranked: bool) -> np.ndarray:
    found = np.empty(values.shape)
    for part in np.unique(parts):
        mine = values[:, parts == part].astype(float)
        mine = rankdata(mine, axis=1) if ranked else mine
        found[:, parts == part] = mine - mine.mean(1, keepdims=True)
    return found

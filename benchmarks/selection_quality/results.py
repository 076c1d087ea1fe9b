"""What has been measured: cells joined with their trainings, means, intervals, correlations."""

from collections.abc import Iterable, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.special import stdtrit

from benchmarks.selection_quality.trainings import BASE, DIGITS, read, subset_of
from benchmarks.selection_quality.ways import FULL, WAYS
from gtp_core.verify.correlating import correlations

MEASURES = ("residual_weighted", "residual_as_trained", "match")
_NAMES = {"task": pl.String, "way": pl.String, "subset": pl.String}
_COUNTS = {"seed": pl.Int64, "samples": pl.Int64}
_NUMBERS = ("share", "loss", "precision", *MEASURES, "duplicates", "wrong answers")
_SCHEMA = {**_NAMES, **_COUNTS, **dict.fromkeys(_NUMBERS, pl.Float64)}


def gathered(work: Path) -> pl.DataFrame:
    """A row for every cell that is done; `relative` is its loss over the full pool's mean loss.

    `full` and `base` are ways of share 100 and 0. Where the full pool is not trained yet, losses
    are relative to the base model's.
    """
    trained = {
        path.name.removesuffix(".json"): path for path in (work / "trainings").glob("*.json")
    }
    losses = {name: (read(path) or {})["loss"] for name, path in trained.items()}
    rows = []
    for label, share in ((BASE, 0.0), (FULL, 100.0)):
        for name, by_task in losses.items():
            if name.startswith(label):
                told = {"way": label, "share": share, "seed": int(name.split(".")[1])}
                rows += [{**told, "task": task, "loss": loss} for task, loss in by_task.items()]
    for path in sorted((work / "choices").glob("*.json")):
        found = read(path) or {"rows": []}
        if found["rows"] and found.get("way") in WAYS:  # others were tried out and left
            rows += _cells(found, losses, path)
    table = pl.DataFrame(rows, schema=_SCHEMA, strict=False)
    known = FULL if FULL in table["way"] else BASE
    whole = table.filter(pl.col("way") == known).group_by("task").agg(whole=pl.col("loss").mean())
    table = table.join(whole, on="task", how="left")
    return table.with_columns(relative=pl.col("loss") / pl.col("whole")).drop("whole")


def _cells(found: dict[str, Any], losses: dict[str, Any], path: Path) -> Iterable[dict[str, Any]]:
    label = subset_of(found).digest()[:DIGITS]
    drawn = WAYS[found["way"]].drawn
    seeds = [int(name.split(".")[1]) for name in losses if name.startswith(label)]
    mine = [int(path.name.split(".")[-2])] if drawn else seeds
    for seed in sorted(set(seeds) & set(mine)):
        if found["task"] not in losses[f"{label}.{seed}"]:
            continue
        yield {
            **{name: found[name] for name in ("task", "way", "share", "precision", *MEASURES)},
            **found["planted"],
            "subset": label,
            "samples": len(found["rows"]),
            "seed": seed,
            "loss": losses[f"{label}.{seed}"][found["task"]],
        }


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half of its 95 % interval over seeds (Student 1908); NaN with a single one."""
    numbers = np.asarray(values, float)
    if len(numbers) < 2:
        return float(numbers.mean()), float("nan")
    reach = float(stdtrit(len(numbers) - 1, 0.975)) * numbers.std(ddof=1) / sqrt(len(numbers))
    return float(numbers.mean()), float(reach)


def against(table: pl.DataFrame, way: str, other: str = "top-k") -> pl.DataFrame:
    """A row for every task and share: `ahead` and `behind` (means, intervals apart), `paired`.

    `difference` and `reach` are of loss, paired by seed, below 0 where `way` is better.
    """
    rows = []
    for (task, share), cell in table.group_by("task", "share", maintain_order=True):
        mine, theirs = (cell.filter(pl.col("way") == name) for name in (way, other))
        both = mine.join(theirs, on="seed", suffix="_other").sort("seed")
        if both.is_empty():
            continue
        (a, reach_a), (b, reach_b) = (interval(side["loss"].to_list()) for side in (mine, theirs))
        apart, reach = interval((both["loss"] - both["loss_other"]).to_list())
        found = {"task": task, "share": share, "seeds": both.height}
        found |= {"difference": apart, "reach": reach}
        found |= {"ahead": a + reach_a < b - reach_b, "behind": a - reach_a > b + reach_b}
        rows.append({**found, "paired": abs(apart) > reach})
    return pl.DataFrame(rows).sort("share", "task") if rows else pl.DataFrame()


def reaches_full(table: pl.DataFrame) -> pl.DataFrame:
    """The smallest share at which each way's mean loss is at most the full pool's, by task."""
    full = table.filter(pl.col("way") == FULL).group_by("task").agg(full=pl.col("loss").mean())
    means = table.filter(pl.col("share").is_between(0.1, 99)).group_by("task", "way", "share")
    low = means.agg(pl.col("loss").mean()).join(full, on="task")
    reached = low.filter(pl.col("loss") <= pl.col("full"))
    return reached.group_by("task", "way").agg(pl.col("share").min()).sort("task", "share", "way")


def correlated(table: pl.DataFrame) -> pl.DataFrame:
    """Rank correlation of every measure with the loss: `task`, `within` and `correlations`' rows.

    By task over all subsets, and within its budgets; then over all tasks, within task and budget.
    Different ways that choose the same are one subset.
    """
    cells = table.filter(pl.col("share").is_between(0.1, 99) & pl.col("match").is_not_null())
    cells = cells.unique(["task", "subset", "share", "seed"], maintain_order=True)
    cells = cells.with_columns(arm=pl.col("subset"))
    found = []
    for task in cells["task"].unique(maintain_order=True):
        mine = cells.filter(pl.col("task") == task)
        for within in ([], ["share"]):
            told = {"task": task, "within": ", ".join(within)}
            found += [{**told, **row} for row in correlations(mine, within=within)]
    told = {"task": "all", "within": "task, share"}
    found += [{**told, **row} for row in correlations(cells, within=["task", "share"])]
    return pl.DataFrame(found, infer_schema_length=None)

"""The tables of a trial, in Markdown."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from benchmarks.selection_quality.grounds import IN_DOMAIN
from benchmarks.selection_quality.results import (
    against,
    correlated,
    interval,
    reaches_full,
)
from benchmarks.selection_quality.trainings import BASE
from benchmarks.selection_quality.ways import COUNTERPART, FULL, WAYS


def printed(table: pl.DataFrame) -> None:
    """Print everything that is known."""
    ways = [way for way in WAYS if way in table["way"]]
    _losses(table, ways)
    shares = [s for s in sorted(table["share"].unique()) if 0 < s < 100]
    for column in ("precision", "duplicates", "wrong answers"):
        _shares(table, ways, shares, column)
    for way in (w for w in ways if w.startswith("gtp")):
        _against(table, way)
    print("\nThe smallest budget whose mean loss is at most the full pool's:")
    for (task,), cell in reaches_full(table).group_by("task", maintain_order=True):
        told = ", ".join(f"{w} {s:g} %" for w, s in cell.select("way", "share").iter_rows())
        print(f"- {task!s}: {told}")
    _correlations(table)


def _losses(table: pl.DataFrame, ways: Sequence[str]) -> None:
    print("\nTest loss over the full pool's, mean ± 95 % interval over seeds; then nats.")
    print(f"\n| task | budget | {' | '.join(ways)} |\n{'|---' * (2 + len(ways))}|")
    cells = table.filter(pl.col("share").is_between(0.1, 99)).sort("share")
    for (task, share), cell in cells.group_by("task", "share", maintain_order=True):
        told = [_mean(cell, way, "relative") for way in ways]
        print(f"| {task!s} | {share:g} % | {' | '.join(told)} |")
    for way in (BASE, FULL):
        for (task,), cell in table.filter(pl.col("way") == way).group_by("task"):
            mean, reach = interval(cell["loss"].to_list())
            print(f"{way} {task!s}: {mean:.3f} ± {reach:.3f} nats, {cell.height} seeds")
    for (task, share), cell in cells.group_by("task", "share", maintain_order=True):
        random, own = (_mean(cell, way, "loss") for way in ("random", COUNTERPART))
        print(f"{task!s} {share:g} %: random {random}, {COUNTERPART} {own} nats")


def _mean(cell: pl.DataFrame, way: str, column: str) -> str:
    found = cell.filter(pl.col("way") == way)[column].drop_nulls().to_list()
    if not found:
        return ""
    mean, reach = interval(found)
    return f"{mean:.3f}" + ("" if len(found) < 2 else f" ± {reach:.3f}")


def _shares(table: pl.DataFrame, ways: Sequence[str], shares: Sequence[float], column: str) -> None:
    known = table.filter(pl.col(column).is_not_null())
    if known.is_empty():
        return
    print(f"\nShare of {column} among the chosen, by task.\n")
    print(f"| task | way | {' | '.join(f'{s:g} %' for s in shares)} |")
    print("|---" * (2 + len(shares)) + "|")
    targets = known.filter(pl.col("task") != IN_DOMAIN).with_columns(task=pl.lit("mean of targets"))
    known = pl.concat([known.sort("task"), targets])
    for (task,), cell in known.group_by("task", maintain_order=True):
        for way in ways:
            mine = cell.filter(pl.col("way") == way)
            found = [mine.filter(pl.col("share") == s)[column].to_list() for s in shares]
            texts = [f"{np.mean(numbers):.3f}" if numbers else "" for numbers in found]
            print(f"| {task!s} | {way} | {' | '.join(texts)} |")


def _against(table: pl.DataFrame, way: str) -> None:
    found = against(table, way)
    if found.is_empty():
        return
    print(f"\n{way} against top-k: ahead / behind with intervals apart, of tasks; paired nats")
    for (share,), cell in found.group_by("share", maintain_order=True):
        told = ", ".join(
            f"{t} {d:+.3f} ± {r:.3f}"
            for t, d, r in cell.select("task", "difference", "reach").iter_rows()
        )
        count = f"{cell['ahead'].sum()} / {cell['behind'].sum()} of {cell.height}"
        print(f"- {share!s} %: {count}; {told}")


def _correlations(table: pl.DataFrame) -> None:
    found = correlated(table)
    if found.is_empty():
        return
    print("\nSpearman's rho with the test loss (95 % by bootstrap over subsets and seeds).\n")
    judges = found["judge"].unique(maintain_order=True).to_list()
    print(f"| task | within | subsets | {' | '.join(judges)} |\n{'|---' * 6}|")
    for (task, within), rows in found.group_by("task", "within", maintain_order=True):
        told = [_rho(row) for row in rows.iter_rows(named=True)]
        print(f"| {task!s} | {within!s} | {max(rows['n'].to_list())} | {' | '.join(told)} |")


def _rho(row: dict[str, Any]) -> str:
    if row["spearman"] is None:
        return ""
    return f"{row['spearman']:+.2f} ({row['spearman_low']:+.2f}, {row['spearman_high']:+.2f})"

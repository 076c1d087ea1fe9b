"""What selections took of groups of duplicates, at one budget and along the path."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from gtp_core.neighbors.groups import Groups


def cluster_use(groups: Groups, supports: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """What selections took of the groups: one row each.

    Returns:
        selection, chosen, in_groups (of them in any group), groups (touched), several (groups of
        which it took more than one), surplus (samples beyond one of each group), most.
    """
    rows = []
    for name, support in supports.items():
        label = groups.label[np.asarray(support, np.int64)]
        _, taken = np.unique(label[label >= 0], return_counts=True)
        rows.append(
            (
                name,
                len(support),
                int(taken.sum()),
                len(taken),
                int((taken > 1).sum()),
                int(taken.sum() - len(taken)),
                int(taken.max(initial=0)),
            )
        )
    names = ["selection", "chosen", "in_groups", "groups", "several", "surplus", "most"]
    return pl.DataFrame(rows, schema=names, orient="row")


def use_sentence(use: pl.DataFrame) -> str:
    """What `cluster_use` found, in one sentence."""
    parts = [
        f"{row['selection']} took {row['in_groups']:,} of its {row['chosen']:,} samples from "
        f"{row['groups']:,} groups, more than one from {row['several']:,} of them"
        for row in use.iter_rows(named=True)
    ]
    return "; ".join(parts) + "."


def use_along(
    groups: Groups, path: pl.DataFrame, methods: Sequence[str] = ("gtp", "top-k")
) -> pl.DataFrame:
    """The same along the budgets of a prepared path: method, budget, surplus, several, groups."""
    tables = []
    for method in methods:
        rows = path.filter((pl.col("method") == method) & (pl.col("seed") == 0)).sort("budget")
        supports = {
            str(row["budget"]): np.array(row["support"], np.int64)
            for row in rows.iter_rows(named=True)
        }
        if supports:
            found = cluster_use(groups, supports)
            tables.append(
                found.select(
                    pl.lit(method).alias("method"),
                    pl.col("selection").cast(pl.Int64).alias("budget"),
                    *("chosen", "surplus", "several", "groups"),
                )
            )
    return pl.concat(tables) if tables else pl.DataFrame()

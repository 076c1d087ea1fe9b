"""Which duplicates stay and which go: every row that goes has a kept row that matches it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

from gtp_core.catalog import Catalog, Edit, clusters_path
from gtp_core.neighbors.groups import Groups, Splits
from gtp_core.neighbors.walk import walker
from gtp_core.store import written_whole

_FEW = 20_000  # samples up to which the database looks for them; above, reading all is as fast
BASES = {
    "text": "the same prompt and completion, byte for byte",
    "near-text": "nearly the same words",
    "gradient": "nearly the same trajectory",
}
"""In what respect samples are duplicates, in the order in which it is asked."""


@dataclass(frozen=True)
class Decision:
    """Who stays and who goes.

    Attributes:
        groups: by basis.
        dropped: row, keeper (rows), basis, score, rule; one line per row that goes, by row.
        n_samples: of the pool.
        scores: (n_samples,) by which the rule goes.
        rule: its name.
        preferred: the rows that a curator made keepers.
        banned: (n_samples,) bool: the rows that a curator banned.
        order: all rows that have a duplicate, as they were gone through.
        partly: samples in groups too large for all their pairs, in which the rows that stay were
            compared with each other.
        unmet: rows that stay in them and were not, since that would have taken too long.
        alike: by basis, the groups of all likenesses, of those too for which nobody goes.
    """

    groups: dict[str, Groups]
    dropped: pl.DataFrame
    n_samples: int
    scores: np.ndarray
    rule: str
    preferred: frozenset[int]
    banned: np.ndarray
    order: np.ndarray
    partly: int = 0
    unmet: int = 0
    alike: dict[str, Groups] = field(default_factory=dict)

    @cached_property
    def stays(self) -> np.ndarray:
        """(n_samples,) bool: the rows that are not dropped."""
        mask = np.ones(self.n_samples, bool)
        mask[self.dropped["row"].to_numpy()] = False
        return mask


def preferred(edits: Iterable[Edit], row_of: dict[str, int]) -> list[int]:
    """Rows that a curator made keepers, the newest first."""
    named = [name for edit in edits if edit.what == "keeper" for name in edit.samples]
    return list(dict.fromkeys(row_of[name] for name in reversed(named) if name in row_of))


def decide(
    groups: dict[str, Groups],
    scores: np.ndarray,
    *,
    rule: str,
    splits: Splits = Splits(),  # noqa: B008
    keepers: Sequence[int] = (),
    banned: np.ndarray | None = None,
) -> Decision:
    """Go through all duplicates, best first: who matches one that stays goes, all others stay.

    So a row goes only for a kept row that is alike itself, and of a chain A~B~C, where C is not
    like A, both ends stay if A comes first.

    Args:
        groups: by basis; a row goes for the first basis in which a kept row matches it.
        scores: (n_samples,) the higher, the sooner kept.
        rule: where the scores come from, for the ledger.
        splits: pairs of rows that do not stand for each other.
        keepers: rows that come before all others.
        banned: (n_samples,) bool: rows that come after all others, so that nobody goes for one of
            them while somebody else could stay.
    """
    n = len(scores)
    last = np.zeros(n, bool) if banned is None else banned
    inside = np.zeros(n, bool)
    for found in groups.values():
        inside |= found.label >= 0
    rows = np.flatnonzero(inside)
    first = [row for row in keepers if inside[row] and not last[row]]
    chosen = frozenset(first)
    order = rows[np.lexsort((rows, -scores[rows], last[rows]))]
    order = np.concatenate([np.array(first, np.int64), order[~np.isin(order, first)]])
    dropped = _walked(groups, order, len(first), splits)
    ledger = dropped.with_columns(
        pl.when(pl.col("keeper").is_in(first))
        .then(pl.lit("your choice"))
        .otherwise(pl.lit(rule))
        .alias("rule")
    )
    return Decision(groups, ledger, n, scores, rule, chosen, last, order)


def _walked(
    groups: dict[str, Groups], order: np.ndarray, n_fixed: int, splits: Splits
) -> pl.DataFrame:
    """Who goes, by row: row, keeper, basis, score."""
    lists = [_lists(found) for found in groups.values()]
    ends = np.cumsum([0, *(len(alike) for _, alike, _ in lists)])
    starts = np.stack([begin + end for (begin, _, _), end in zip(lists, ends, strict=False)])
    copies = np.stack([found.likeness.copies for found in groups.values()]).astype(np.int64)
    n = copies.shape[1]
    keeper, basis, score = np.full(n, -1), np.zeros(n, np.int64), np.zeros(n)
    walker(len(order))(
        order,
        n_fixed,
        copies,
        starts,
        np.concatenate([alike for _, alike, _ in lists]),
        np.concatenate([scores for _, _, scores in lists]),
        np.array(sorted(one * n + other for one, other in splits.pairs), np.int64),
        keeper,
        basis,
        score,
    )
    gone = np.flatnonzero(keeper >= 0)
    names = np.array(list(groups), object)[basis[gone]]
    return pl.DataFrame(
        {
            "row": gone,
            "keeper": keeper[gone],
            "basis": pl.Series(names, dtype=pl.String),
            "score": score[gone],
        }
    )


def _lists(groups: Groups) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By first copy, those that are like it, the most first: where each begins, who, how much."""
    node = np.concatenate([groups.one, groups.other])
    other = np.concatenate([groups.other, groups.one])
    score = np.concatenate([groups.score, groups.score]).astype(np.float64)
    order = np.lexsort((-score, node))
    sizes = np.bincount(node, minlength=len(groups.likeness.copies))
    return np.concatenate([[0], np.cumsum(sizes)]), other[order], score[order]


def cluster_table(catalog: Catalog, decision: Decision) -> pl.DataFrame:
    """Clusters as they are saved: basis, cluster, sample_id, keeper, kept, score, rule.

    `kept`, `score` and `rule` stand in the line of the basis for which a sample goes.
    """
    ids = catalog.sample_ids()
    gone = decision.dropped
    ledger = gone.with_columns(ids.gather(gone["keeper"]).alias("kept")).drop("keeper")
    tables = []
    for basis, groups in decision.groups.items():
        rows = np.flatnonzero(groups.label >= 0)
        tables.append(
            pl.DataFrame(
                {
                    "basis": pl.Series([basis] * len(rows), dtype=pl.String),
                    "cluster": groups.label[rows],
                    "row": rows,
                    "sample_id": ids.gather(rows),
                    "keeper": decision.stays[rows],
                }
            )
        )
    whole = pl.concat(tables).join(ledger, on=["row", "basis"], how="left", maintain_order="left")
    return whole.drop("row")


def save_clusters(catalog: Catalog, decision: Decision) -> None:
    """Keep a decision in the workspace; it appears in the tables `clusters` and `dropped`."""
    path = clusters_path(catalog.workspace, catalog.store.digest)
    with written_whole(path) as temporary:
        cluster_table(catalog, decision).write_parquet(temporary, compression="zstd")


def ledger(catalog: Catalog, decision: Decision, most: int | None = None) -> pl.DataFrame:
    """Every row that goes, or the first of them: sample_id, keeper, basis, score, rule."""
    gone = decision.dropped.head(decision.dropped.height if most is None else most)
    ids = ids_at(catalog, [*gone["row"], *gone["keeper"]])
    return gone.select(
        ids[: gone.height].alias("sample_id"),
        ids[gone.height :].alias("keeper"),
        "basis",
        "score",
        "rule",
    )


def ids_at(catalog: Catalog, rows: Sequence[int]) -> pl.Series:
    """The ids of some rows, in their order; a row may come more than once."""
    wanted = pl.DataFrame({"row": rows}, schema={"row": pl.Int64})
    sql, params = "SELECT row, sample_id FROM samples", []
    if len(rows) < _FEW:
        sql += " WHERE row IN (SELECT unnest($1::BIGINT[]))"
        params = [wanted["row"].unique().to_list()]
    known = catalog.query(sql, params)
    return wanted.join(known, on="row", how="left", maintain_order="left")["sample_id"]


def rows_of(catalog: Catalog, edits: Iterable[Edit]) -> dict[str, int]:
    """By id, the rows of the samples that edits name; ids that are not in the pool are left out."""
    names = {name for edit in edits for name in (*edit.samples, edit.value) if name}
    sql, params = "SELECT sample_id, row FROM samples", []
    if len(names) < _FEW:
        sql += " WHERE sample_id IN (SELECT unnest($1::VARCHAR[]))"
        params = [sorted(names)]
    known = catalog.query(sql, params) if names else pl.DataFrame()
    return dict(known.filter(pl.col("sample_id").is_in(names)).rows()) if names else {}

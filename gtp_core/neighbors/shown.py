"""Groups of duplicates as a curator looks at them: a table of groups, then one group's members."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from gtp_core.catalog import Catalog
from gtp_core.neighbors.groups import Groups
from gtp_core.neighbors.keepers import Decision, ids_at
from gtp_core.neighbors.pairs import few_cosines
from gtp_core.neighbors.rules import REASONS, WEIGHED
from gtp_core.neighbors.text import shingle_likeness

MOST = 100
WHICH = {
    "all": "all groups",
    "open": "not accepted by you",
    "chains": "chains",
    "taken": "taken more than once",
}
"""Which groups the table may be narrowed to."""


@dataclass(frozen=True)
class Shown:
    """The groups that are shown, those first of which most rows go, and what is left out.

    Attributes:
        table: cluster, size, lowest, mean, highest, chain, dropped, on (for which bases), kept
            (rows that stay), keeper
            (id), why, yours (what the curator said), first (id), sources, and a column for each
            selection: how many of the group it took.
        count: groups that were asked for.
        rest: rows that go in those of them that are not shown.
    """

    table: pl.DataFrame
    count: int
    rest: int

    @property
    def left_out(self) -> str:
        """What is not shown, in a sentence; nothing if all are."""
        others = self.count - self.table.height
        if not others:
            return ""
        shown = self.table.height
        return f"Shown are {shown:,}; of the other {others:,} groups {self.rest:,} rows go. "

    def marked(self, place: int) -> pl.DataFrame:
        """The table as people read it, with a mark at one place."""
        here = pl.when(pl.int_range(pl.len()) == place).then(pl.lit("▶")).otherwise(pl.lit(""))
        first = ["first", "size", "lowest", "mean", "chain"]
        last = ["dropped", "kept", "keeper", "why", "swap", "verdicts", "yours", "on", "sources"]
        known = self.table.columns
        taken = [n for n in known if n not in {*first, *last, "cluster", "highest"}]
        order = [name for name in (*first, *taken, *last) if name in known]
        return self.table.select(here.alias(" "), *order)


def shown_groups(
    catalog: Catalog,
    decision: Decision,
    basis: str,
    supports: Mapping[str, np.ndarray],
    *,
    size: int = 0,
    which: str = "all",
    most: int = MOST,
) -> Shown:
    """The groups on one basis, those of one size (0: of any) and of one kind of WHICH."""
    groups = decision.groups[basis]
    table = _counted(decision, groups, supports)
    several = pl.any_horizontal(pl.lit(False), *(pl.col(name) > 1 for name in supports))
    kinds = {"all": pl.lit(True), "open": pl.col("yours") == "", "chains": pl.col("chain")}
    table = table.filter({**kinds, "taken": several}[which])
    table = table.filter(size=size) if size else table
    order = ["dropped", "size", "cluster"]
    table = table.sort(order, descending=[True, True, False])
    head = table.head(most)
    rest = int(table["dropped"][most:].sum())
    return Shown(_named(catalog, decision, groups, head, list(supports)), table.height, rest)


def _counted(
    decision: Decision, groups: Groups, supports: Mapping[str, np.ndarray]
) -> pl.DataFrame:
    """`group_table` with what goes and stays of each group, what was taken, and what is yours."""
    inside = np.flatnonzero(groups.label >= 0)
    stays = decision.stays[inside]
    mine = np.isin(inside, list(decision.preferred))
    members = pl.DataFrame(
        {
            "cluster": groups.label[inside],
            "dropped": ~stays,
            "kept": stays,
            "mine": mine & stays,
            "banned": decision.banned[inside],
            **{name: np.isin(inside, support) for name, support in supports.items()},
        }
    )
    sums = members.group_by("cluster").agg(pl.all().sum())
    yours = (
        pl.when(pl.col("banned") == pl.col("size"))
        .then(pl.lit("excluded"))
        .when((pl.col("kept") > 0) & (pl.col("mine") == pl.col("kept")))
        .then(pl.lit("accepted"))
        .when(pl.col("mine") > 0)
        .then(pl.lit("keeper"))
        .otherwise(pl.lit(""))
    )
    joined = groups.table.join(sums, on="cluster", how="left", maintain_order="left")
    return joined.with_columns(yours.alias("yours"))


def _named(
    catalog: Catalog, decision: Decision, groups: Groups, head: pl.DataFrame, names: list[str]
) -> pl.DataFrame:
    rows = np.flatnonzero(np.isin(groups.label, head["cluster"].to_numpy()))
    order = np.lexsort((rows, groups.label[rows]))
    edges = np.flatnonzero(np.diff(groups.label[rows[order]], prepend=-1))[1:]
    members = np.split(rows[order], edges) if len(rows) else []
    keepers = [keeper_of(decision, some) for some in members]
    wanted = np.unique([*rows, *keepers]).astype(np.int64)
    known = catalog.query(
        "SELECT row, sample_id, source FROM samples WHERE row IN (SELECT unnest($1::BIGINT[]))",
        [wanted.tolist()],
    )
    id_of = dict(zip(known["row"].to_list(), known["sample_id"].to_list(), strict=True))
    source_of = dict(zip(known["row"].to_list(), known["source"].to_list(), strict=True))
    told = pl.DataFrame(
        {
            "cluster": [int(groups.label[some[0]]) for some in members],
            "keeper": [id_of[row] for row in keepers],
            "why": [
                why_kept(decision, row, some) for row, some in zip(keepers, members, strict=True)
            ],
            "first": [id_of[int(some[0])] for some in members],
            "sources": [
                ", ".join(sorted({source_of[row] for row in some.tolist()})) for some in members
            ],
        },
        schema={"cluster": pl.Int64}
        | dict.fromkeys(("keeper", "why", "first", "sources"), pl.String),
    )
    gone = decision.dropped.with_columns(cluster=groups.label[decision.dropped["row"].to_numpy()])
    on = gone.filter(pl.col("cluster").is_in(head["cluster"].to_list()))
    on = on.group_by("cluster", "basis").len().sort("cluster", "len", "basis", descending=True)
    on = on.group_by("cluster").agg(pl.format("{} {}", "len", "basis").str.join(", ").alias("on"))
    whole = head.drop("first")
    for columns in (told, on):
        whole = whole.join(columns, on="cluster", how="left", maintain_order="left")
    numbers = ["cluster", "size", "lowest", "mean", "highest", "chain", "dropped", "on", "kept"]
    return whole.select(*numbers, "keeper", "why", "yours", "first", "sources", *names)


def keeper_of(decision: Decision, members: np.ndarray) -> int:
    """The row that a group keeps before any other; outside of it if all members go elsewhere."""
    rows = members[decision.stays[members]]
    if len(rows):
        return int(rows[np.lexsort(_worth(decision, rows))[0]])
    gone = decision.dropped.filter(pl.col("row").is_in(members.tolist()))
    return int(gone["keeper"].min())  # type: ignore[arg-type]


def _worth(decision: Decision, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Keys of an order: a curator's keepers first, then the best by the rule, the banned last."""
    mine = np.isin(rows, list(decision.preferred))
    return rows, -decision.scores[rows], decision.banned[rows], ~mine


def why_kept(decision: Decision, keeper: int, members: np.ndarray) -> str:
    """Why a group keeps this one, in a few words."""
    if keeper in decision.preferred:
        return "your choice"
    others = members[members != keeper]
    score = decision.scores[keeper]
    reason = REASONS.get(decision.rule, decision.rule)
    if decision.rule == "weight" and score < WEIGHED:
        reason = f"{REASONS['influence']}, none has weight"
    if decision.rule != "first" and (decision.scores[others] >= score).any():
        tie = (decision.scores[others] == score).any()
        reason = f"{reason}; a tie, first in the pool" if tie else "the others go elsewhere"
    return reason


def members(
    catalog: Catalog, decision: Decision, basis: str, cluster: int, *, most: int = 50
) -> pl.DataFrame:
    """The members of a group, its keeper first, then whoever else stays.

    Returns:
        row, sample_id, beside (row that it is compared with), kept (the id that stands for it, or
        null), on (the basis), score, rule, to_keeper: similarity to the row it is compared with,
        exact, even below the threshold; by_checkpoint: cosine of the gradients at every
        checkpoint; source, n_tokens, prompt, completion. It is compared with the one that stands
        for it, and with the group's keeper if it stays.
    """
    groups = decision.groups[basis]
    rows = np.flatnonzero(groups.label == cluster)
    if not len(rows):
        return pl.DataFrame()
    keys = (*_worth(decision, rows), ~decision.stays[rows])
    order = rows[np.lexsort(keys)][:most]
    gone = decision.dropped.filter(pl.col("row").is_in(order.tolist()))
    kept = ids_at(catalog, gone["keeper"].to_list())
    gone = gone.with_columns(kept.alias("kept"), pl.col("basis").alias("on")).drop("basis")
    table = catalog.texts(order).join(gone, on="row", how="left", maintain_order="left")
    beside = table["keeper"].fill_null(keeper_of(decision, rows)).to_numpy()
    whole, by_checkpoint = few_cosines(catalog.store, order, beside)
    if basis != "gradient":
        whole = _text_likeness(catalog, basis, beside, table)
    table = table.with_columns(
        beside=beside,
        to_keeper=pl.Series(whole, dtype=pl.Float64),
        by_checkpoint=pl.Series(by_checkpoint.tolist(), dtype=pl.List(pl.Float64)),
    )
    return table.select(
        *("row", "sample_id", "beside", "kept", "on", "score", "rule", "to_keeper"),
        *("by_checkpoint", "source", "n_tokens", "prompt", "completion"),
    )


def _text_likeness(
    catalog: Catalog, basis: str, beside: np.ndarray, texts: pl.DataFrame
) -> np.ndarray:
    whole, against = (
        (table["prompt"] + "\n" + table["completion"]).to_list()
        for table in (texts, catalog.texts(beside))
    )
    alike = shingle_likeness if basis == "near-text" else str.__eq__
    return np.array([float(alike(*pair)) for pair in zip(whole, against, strict=True)])


def ids_of(
    catalog: Catalog, decision: Decision, basis: str, cluster: int
) -> tuple[list[str], list[str]]:
    """The ids of all members of a group, and of those that stay."""
    rows = np.flatnonzero(decision.groups[basis].label == cluster)
    ids = ids_at(catalog, rows.tolist())
    return ids.to_list(), ids.filter(pl.Series(decision.stays[rows])).to_list()


def sample_of(catalog: Catalog, row: int) -> dict[str, Any]:
    """One sample with its whole texts."""
    return catalog.texts(np.array([row])).row(0, named=True)


def brief(table: pl.DataFrame) -> pl.DataFrame:
    """Members as a table shows them: the beginning of the prompt in place of the whole texts."""
    shown = table.with_columns(pl.col("prompt").str.slice(0, 160))
    order = ["sample_id", "verdict", "weight", "kept", "on", "score", "rule", "to_keeper"]
    order += ["by_checkpoint", "swap", "source", "n_tokens", "prompt"]
    return shown.select(name for name in order if name in shown.columns)


def taken_along(groups: Groups, cluster: int, path: pl.DataFrame) -> pl.DataFrame:
    """How many members of one group each method took at every prepared budget.

    Returns:
        method, budget, taken.
    """
    rows = np.flatnonzero(groups.label == cluster)
    some = path.filter(pl.col("method").is_in(["gtp", "top-k"]) & (pl.col("seed") == 0))
    taken = [int(np.isin(rows, support).sum()) for support in some["support"]]
    return some.select("method", "budget").with_columns(taken=pl.Series(taken, dtype=pl.Int64))


def taken_sentence(groups: Groups, cluster: int, supports: Mapping[str, np.ndarray]) -> str:
    """How many members of one group each selection took, in one sentence."""
    rows = np.flatnonzero(groups.label == cluster)
    parts = [
        f"{name} took {int(np.isin(rows, support).sum()):,}" for name, support in supports.items()
    ]
    return f"Of its {len(rows):,} members " + " and ".join(parts) + " at this budget."

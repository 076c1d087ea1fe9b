"""Which duplicates stay and which go: every row that goes has a kept row that matches it."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from gtp_core.catalog import Catalog, Edit, clusters_path
from gtp_core.neighbors.groups import Groups, Splits
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
    """

    groups: dict[str, Groups]
    dropped: pl.DataFrame
    n_samples: int
    scores: np.ndarray
    rule: str
    preferred: frozenset[int]
    banned: np.ndarray

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
    order = rows[np.lexsort((rows, -scores[rows], last[rows]))].tolist()
    first = [row for row in keepers if inside[row] and not last[row]]
    chosen = set(first)
    order = first + [row for row in order if row not in chosen]
    matchers = [_Matcher(basis, found) for basis, found in groups.items()]
    gone = []
    for row in order:
        match = _match(row, matchers, splits) if row not in chosen else None
        if match is None:
            for matcher in matchers:
                matcher.keep(row)
        else:
            gone.append((row, *match, "your choice" if match[0] in chosen else rule))
    dropped = pl.DataFrame(gone, schema=_LEDGER, orient="row").sort("row")
    return Decision(groups, dropped, n, scores, rule, frozenset(chosen), last)


_LEDGER = {
    "row": pl.Int64,
    "keeper": pl.Int64,
    "basis": pl.String,
    "score": pl.Float64,
    "rule": pl.String,
}


class _Matcher:
    """The kept rows of one basis, and which of them a row is like.

    Attributes:
        copies: first copy of every row.
        alike: by first copy, those that are like it and how much, the most first.
        kept: by first copy, the rows that stay.
    """

    def __init__(self, basis: str, groups: Groups) -> None:
        self.basis, self.copies = basis, groups.likeness.copies.tolist()
        self.alike: dict[int, list[tuple[int, float]]] = {}
        self.kept: dict[int, list[int]] = {}
        pairs = zip(groups.one.tolist(), groups.other.tolist(), groups.score.tolist(), strict=True)
        for one, other, score in pairs:  # scores descend
            self.alike.setdefault(one, []).append((other, score))
            self.alike.setdefault(other, []).append((one, score))

    def keep(self, row: int) -> None:
        self.kept.setdefault(self.copies[row], []).append(row)

    def match(self, row: int, apart: Container[tuple[int, int]]) -> tuple[int, float] | None:
        """The kept row that is most like this one, and how much; ties to the lower row."""
        own, best, most = self.copies[row], -1, 1.0
        if own < 0:
            return None
        kept = self.kept
        for copy, score in ((own, 1.0), *self.alike.get(own, ())):
            if best >= 0 and score < most:
                break
            for other in kept.get(copy, ()):
                if (best < 0 or other < best) and (min(row, other), max(row, other)) not in apart:
                    best, most = other, score
        return (best, most) if best >= 0 else None


def _match(row: int, matchers: Sequence[_Matcher], splits: Splits) -> tuple[int, str, float] | None:
    """The kept row that stands for this one, on which basis, and how alike they are."""
    for matcher in matchers:
        found = matcher.match(row, splits.pairs)
        if found is not None:
            return found[0], matcher.basis, found[1]
    return None


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


def ledger(catalog: Catalog, decision: Decision) -> pl.DataFrame:
    """Every row that goes: sample_id, keeper, basis, score, rule."""
    gone = decision.dropped
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

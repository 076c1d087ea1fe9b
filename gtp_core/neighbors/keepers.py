"""Which duplicates stay and which go: every row that goes has a kept row that matches it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog, Edit, clusters_path
from gtp_core.errors import CatalogError
from gtp_core.neighbors.groups import Groups, Splits
from gtp_core.pursuit import Selection
from gtp_core.store import written_whole

BASES = {
    "text": "the same prompt and completion, byte for byte",
    "near-text": "nearly the same words",
    "gradient": "nearly the same trajectory",
}
"""In what respect samples are duplicates, in the order in which it is asked."""

RULES = {
    "weight": "the sample that the run gives the most weight, then the most influential",
    "influence": "the most influential sample",
    "longest": "the sample with the most tokens",
    "source": "the sample of the source named first",
    "first": "the first sample of the pool",
}
"""Who is kept, by default; ties go to the first of the pool."""


@dataclass(frozen=True)
class Decision:
    """Who stays and who goes.

    Attributes:
        groups: by basis.
        dropped: row, keeper (rows), basis, score, rule; one line per row that goes, by row.
        n_samples: of the pool.
    """

    groups: dict[str, Groups]
    dropped: pl.DataFrame
    n_samples: int

    @property
    def stays(self) -> np.ndarray:
        """(n_samples,) bool: the rows that are not dropped."""
        mask = np.ones(self.n_samples, bool)
        mask[self.dropped["row"].to_numpy()] = False
        return mask


def rule_scores(
    catalog: Catalog,
    rule: str,
    *,
    weights: np.ndarray | None = None,
    influence: np.ndarray | None = None,
    sources: Sequence[str] = (),
) -> np.ndarray:
    """(n_samples,) float64: the higher, the sooner kept.

    Args:
        catalog: the pool.
        rule: a key of RULES.
        weights: (n_samples,) of a selection, 0 where not chosen; for `weight`.
        influence: (n_samples,) on a task; for `weight` and `influence`.
        sources: in the order of preference; for `source`.

    Raises:
        CatalogError: an unknown rule, or one whose numbers are not given.
    """
    if rule not in RULES:
        raise CatalogError(f"keeper rule {rule!r} is unknown; there are {', '.join(RULES)}.")
    n = catalog.store.n_samples
    if rule == "first":
        return np.zeros(n)
    if rule in ("weight", "influence"):
        if influence is None or (rule == "weight" and weights is None):
            raise CatalogError(
                f"keeper rule {rule!r} needs a run and its task. Name a run, or choose another "
                f"rule of {', '.join(RULES)}."
            )
        known = np.nan_to_num(np.asarray(influence, np.float64), nan=-1.0, neginf=-1.0)
        if weights is None or rule == "influence":
            return known
        # Any weight counts more than every influence, which is a mean of cosines.
        return np.where(weights > 0, 10.0 + weights / max(float(weights.max()), 1e-30), known)
    table = catalog.query("SELECT source, n_tokens FROM samples ORDER BY row")
    if rule == "longest":
        return table["n_tokens"].cast(pl.Float64).fill_null(0).to_numpy()
    unknown = [name for name in sources if name not in set(table["source"])]
    if unknown or not sources:
        raise CatalogError(
            f"keeper rule 'source' names {', '.join(map(repr, unknown)) or 'no source'}; the pool "
            f"has {', '.join(sorted(set(table['source']))[:20])}. Name some of these, best first."
        )
    place = {name: float(len(sources) - i) for i, name in enumerate(sources)}
    return np.array([place.get(name, 0.0) for name in table["source"]])


def selection_scores(
    catalog: Catalog,
    problem: Problem,
    selection: Selection,
    rule: str,
    sources: Sequence[str] = (),
) -> np.ndarray:
    """`rule_scores` with the weights of a selection and the influence on its task."""
    weights = weights_of(problem, selection)
    return rule_scores(catalog, rule, weights=weights, influence=problem.influence, sources=sources)


def weights_of(problem: Problem, selection: Selection) -> np.ndarray:
    """(n_samples,) weights of a selection; 0 where not chosen."""
    weights = np.zeros(problem.atoms.n_samples)
    weights[selection.support] = selection.weights
    return weights


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
    """
    n = len(scores)
    inside = np.zeros(n, bool)
    for found in groups.values():
        inside |= found.label >= 0
    rows = np.flatnonzero(inside)
    order = rows[np.lexsort((rows, -scores[rows]))].tolist()
    first = [row for row in keepers if inside[row]]
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
    return Decision(groups, dropped, n)


_LEDGER = {
    "row": pl.Int64,
    "keeper": pl.Int64,
    "basis": pl.String,
    "score": pl.Float64,
    "rule": pl.String,
}


class _Matcher:
    """The kept rows of one basis, and which of them a row is like."""

    def __init__(self, basis: str, groups: Groups) -> None:
        self.basis, self._copies = basis, groups.likeness.copies
        self._alike: dict[int, list[tuple[int, float]]] = {}
        self._kept: dict[int, list[int]] = {}
        pairs = zip(groups.one.tolist(), groups.other.tolist(), groups.score.tolist(), strict=True)
        for one, other, score in pairs:
            self._alike.setdefault(one, []).append((other, score))
            self._alike.setdefault(other, []).append((one, score))

    def keep(self, row: int) -> None:
        self._kept.setdefault(int(self._copies[row]), []).append(row)

    def matches(self, row: int) -> list[tuple[int, float]]:
        """Kept rows and how alike they are, most first; ties to the lower row."""
        own = int(self._copies[row])
        if own < 0:
            return []
        found = [(kept, 1.0) for kept in self._kept.get(own, [])]
        for copy, score in self._alike.get(own, []):
            found += [(kept, score) for kept in self._kept.get(copy, [])]
        return sorted(found, key=lambda match: (-match[1], match[0]))


def _match(row: int, matchers: Sequence[_Matcher], splits: Splits) -> tuple[int, str, float] | None:
    """The kept row that stands for this one, on which basis, and how alike they are."""
    for matcher in matchers:
        for kept, score in matcher.matches(row):
            if (min(row, kept), max(row, kept)) not in splits.pairs:
                return kept, matcher.basis, score
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
    ids = catalog.sample_ids()
    gone = decision.dropped
    return gone.select(
        ids.gather(gone["row"]).alias("sample_id"),
        ids.gather(gone["keeper"]).alias("keeper"),
        "basis",
        "score",
        "rule",
    )

"""What the Duplicates page and the command ask: counts, groups with their texts, use."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from gtp_core.catalog import Catalog
from gtp_core.catalog.edits import marks_of
from gtp_core.errors import CatalogError
from gtp_core.neighbors.complete import components
from gtp_core.neighbors.groups import Groups, Splits, group, read_splits
from gtp_core.neighbors.keepers import BASES, Decision, decide, ledger, preferred, rows_of
from gtp_core.neighbors.kept import Neighbors
from gtp_core.neighbors.pairs import Likeness, cosines
from gtp_core.neighbors.settle import Comparer, settled
from gtp_core.neighbors.text import comparing_texts
from gtp_core.trajectories import open_trajectories

THRESHOLDS = {"text": 1.0, "near-text": 0.8, "gradient": 0.95}
"""From which similarity samples are duplicates, unless the curator says otherwise."""

_MOST_TEXTS = 5_000_000  # pairs of texts of large groups that a decision compares: ten seconds
_MOST_WORK = 20_000_000_000  # multiplications for pairs of trajectories: twenty seconds


def duplicates(
    catalog: Catalog,
    neighbors: Neighbors,
    thresholds: Mapping[str, float],
    scores: np.ndarray,
    *,
    rule: str,
    chains: bool = False,
    beside: Mapping[str, float] = {},
) -> Decision:
    """Groups on the asked bases and who is kept of them, with the curator's edits in force.

    Args:
        thresholds: by basis; a basis that is not named drops nothing.
        scores: as `rule_scores` gives them.
        rule: which rule that is.
        chains: whether groups with a chain are split by complete linkage.
        beside: thresholds of the bases that drop nothing, for `crossing`; THRESHOLDS otherwise.

    Raises:
        CatalogError: an unknown basis, none, or a threshold below the floor or above 1.
    """
    if not thresholds:
        raise CatalogError(f"no basis is named; name at least one of {', '.join(BASES)}.")
    edits = catalog.edits()
    splits, keepers = Splits(chains=chains), []
    banned = np.zeros(catalog.store.n_samples, bool)
    edits = [edit for edit in edits if edit.what in ("split", "keeper", "pin", "ban", "free")]
    if edits:
        row_of = rows_of(catalog, edits)
        splits = read_splits(edits, row_of, chains=chains)
        keepers = preferred(edits, row_of)
        marks = marks_of(edits)
        banned[[row_of[name] for name in marks if marks[name] == "ban" and name in row_of]] = True
    groups = {}
    for basis in (*(b for b in BASES if b in thresholds), *(set(thresholds) - set(BASES))):
        likeness = _asked(neighbors, basis, thresholds[basis])
        groups[basis] = group(likeness, thresholds[basis], splits)

    def decision_of(found: dict[str, Groups]) -> Decision:
        return decide(found, scores, rule=rule, splits=splits, keepers=keepers, banned=banned)

    decision = settled(groups, decision_of, _comparers(catalog, neighbors), splits)
    others = {
        basis: group(found, max(found.floor, beside.get(basis, THRESHOLDS[basis])), splits)
        for basis, found in neighbors.likenesses.items()
        if basis not in groups
    }
    return replace(decision, alike=decision.groups | others)


def _comparers(
    catalog: Catalog, neighbors: Neighbors
) -> dict[str, Callable[[np.ndarray], Comparer]]:
    """By basis, what compares rows that stay in groups too large for all their pairs."""

    def near_text(rows: np.ndarray) -> Comparer:
        return Comparer(comparing_texts(catalog, rows), _MOST_TEXTS)

    def gradient(rows: np.ndarray) -> Comparer:
        whole = open_trajectories(catalog.store)
        most = _MOST_WORK // whole.dim
        return Comparer(lambda one, other: cosines(whole, None, one, other), most)

    found: dict[str, Callable[[np.ndarray], Comparer]] = {"near-text": near_text}
    # Where the common direction is removed nothing is compared, and the decision says so.
    if neighbors.manifest["common_direction"] == "kept":
        found["gradient"] = gradient
    return found


def rows_alike(neighbors: Neighbors, thresholds: Mapping[str, float]) -> np.ndarray:
    """The rows that have a duplicate at these thresholds, whatever a curator took apart."""
    alike = np.zeros(neighbors.manifest["n_samples"], bool)
    for basis, threshold in thresholds.items():
        alike |= group(_asked(neighbors, basis, threshold), threshold).label >= 0
    return np.flatnonzero(alike)


def _asked(neighbors: Neighbors, basis: str, threshold: float) -> Likeness:
    if basis not in neighbors.likenesses:
        raise CatalogError(f"basis {basis!r} is unknown; there are {', '.join(BASES)}.")
    found = neighbors.likenesses[basis]
    if not found.floor - 1e-6 <= threshold <= 1:
        raise CatalogError(
            f"the threshold of basis {basis!r} is {threshold:g}; pairs are known from "
            f"{found.floor:.3g} to 1. Choose one in between."
        )
    return found


def crossing(decision: Decision) -> pl.DataFrame:
    """Samples by having a text twin and having a gradient twin: text, gradient, n (4 rows).

    Of all likenesses, whichever of them a sample goes for.
    """
    n = decision.n_samples
    alike = {"text": np.zeros(n, bool), "gradient": np.zeros(n, bool)}
    for basis, groups in (decision.alike or decision.groups).items():
        alike["gradient" if basis == "gradient" else "text"] |= groups.label >= 0
    rows = [
        (text, gradient, int(((alike["text"] == text) & (alike["gradient"] == gradient)).sum()))
        for text in (True, False)
        for gradient in (True, False)
    ]
    return pl.DataFrame(rows, schema=["text", "gradient", "n"], orient="row")


def counted(decision: Decision) -> pl.DataFrame:
    """One row per basis: basis, threshold, groups, samples, chains, largest, dropped."""
    rows = []
    for basis, groups in decision.groups.items():
        table = groups.table
        rows.append(
            (
                basis,
                groups.threshold,
                groups.count,
                int((groups.label >= 0).sum()),
                int(table["chain"].sum()),
                int(table["size"].max() or 0),  # type: ignore[arg-type]
                decision.dropped.filter(basis=basis).height,
            )
        )
    names = ["basis", "threshold", "groups", "samples", "chains", "largest", "dropped"]
    return pl.DataFrame(rows, schema=names, orient="row")


def guarantee(decision: Decision) -> tuple[int, int]:
    """How many samples that go have a kept row as alike as was asked, and how many go."""
    gone = decision.dropped
    stays = decision.stays
    floor = {basis: groups.threshold for basis, groups in decision.groups.items()}
    kept = stays[gone["keeper"].to_numpy()]
    wanted = gone["basis"].replace_strict(floor, return_dtype=pl.Float64).to_numpy()
    return int((kept & (gone["score"].to_numpy() >= wanted - 1e-5)).sum()), gone.height


def pair_texts(catalog: Catalog, pairs: pl.DataFrame) -> pl.DataFrame:
    """Pairs of rows with their texts: side, score, sample_id, other_id, text, other_text."""
    text = pl.concat_str("prompt", pl.lit("\n"), "completion").alias("text")
    one = catalog.texts(pairs["row"].to_numpy()).select("sample_id", text)
    other = catalog.texts(pairs["other"].to_numpy()).select(
        pl.col("sample_id").alias("other_id"), text.alias("other_text")
    )
    return pl.concat([pairs.select("side", "score"), one, other], how="horizontal")


def families(decision: Decision) -> np.ndarray:
    """(n_samples,) number of the family; -1 alone: groups of all bases that share a member."""
    one, other = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for groups in decision.groups.values():
        rows = np.flatnonzero(groups.label >= 0)
        label, first = np.unique(groups.label[rows], return_index=True)
        one.append(rows)
        other.append(rows[first][np.searchsorted(label, groups.label[rows])])
    label = np.full(decision.n_samples, -1, np.int64)
    found, nodes = components(np.concatenate(one), np.concatenate(other))
    label[nodes] = found
    return label


def kept_in(label: np.ndarray, stays: np.ndarray) -> tuple[int, int]:
    """How many groups there are, and in how many of them at least one row stays."""
    inside = label >= 0
    return len(np.unique(label[inside])), len(np.unique(label[inside & stays]))


def guarantee_sentences(decision: Decision) -> str:
    """That every group keeps a row and every row that goes has a match: counted, not promised."""
    total, kept = kept_in(families(decision), decision.stays)
    good, gone = guarantee(decision)
    text = (
        f"Every group keeps at least one row: {total:,} groups, {kept:,} with a keeper "
        f"{_sign(kept == total)}. {good:,} of {gone:,} rows that go have a kept row that is as "
        f"alike as asked {_sign(good == gone)}."
    )
    elsewhere = sum(
        groups.count - kept_in(groups.label, decision.stays)[1]
        for groups in decision.groups.values()
    )
    if elsewhere:
        text += (
            f" Groups of several bases that share a member count as one; {elsewhere:,} of a single "
            "basis have their keepers outside, on another basis."
        )
    if decision.partly:
        text += (
            f" {decision.partly:,} samples are in groups too large for all their pairs: there the "
            "rows that stay were compared with each other"
        )
        text += (
            f", but {decision.unmet:,} were not, which would take too long, and some of these may "
            "be alike ✗."
            if decision.unmet
            else " ✓."
        )
    return text


def _sign(good: bool) -> str:
    return "✓" if good else "✗"


def rule_change(before: Decision, after: Decision) -> str:
    """What another rule would change, in one sentence: keepers and rows, and how many go."""
    label = families(after)  # groups do not depend on the rule
    was, will = before.stays, after.stays
    changed = (was != will) & (label >= 0)
    keepers = len(np.unique(label[changed]))
    return (
        f"Instead of {before.rule}, {after.rule} would change who is kept in {keepers:,} of "
        f"{len(np.unique(label[label >= 0])):,} groups: {int((was & ~will).sum()):,} rows that "
        f"stay would go, {int((~was & will).sum()):,} that go would stay. "
        f"{after.dropped.height:,} rows would go instead of {before.dropped.height:,}."
    )


def saved_sentence(catalog: Catalog, decision: Decision) -> str:
    """Whether the saved tables hold this decision, in one sentence."""
    saved = catalog.query("SELECT sample_id, keeper, basis, score, rule FROM dropped")
    if saved.is_empty() and catalog.query("SELECT 1 FROM clusters LIMIT 1").is_empty():
        return "Not saved yet: the tables clusters and dropped are empty."
    gone = decision.dropped.height
    if gone == saved.height:
        here = ledger(catalog, decision)
        if saved.sort("sample_id").equals(here.sort("sample_id")):
            return f"Saved: the tables clusters and dropped hold this decision, {gone:,} rows."
    return (
        f"What is saved is stale: another decision, in which {saved.height:,} rows go, "
        f"{gone:,} here. Save again."
    )


def accepting(decision: Decision, basis: str, least: float) -> tuple[int, np.ndarray]:
    """Groups in which all members are alike at least this much and that nobody accepted yet.

    Returns:
        how many, and the rows that stay in them: made keepers, they stay whatever the rule.
    """
    groups = decision.groups[basis]
    table = groups.table.filter(~pl.col("chain") & (pl.col("lowest") >= least - 1e-6))
    stays = decision.stays & ~decision.banned & np.isin(groups.label, table["cluster"].to_numpy())
    new = stays.copy()
    new[list(decision.preferred)] = False
    asked = np.isin(groups.label, np.unique(groups.label[new])) & stays
    return len(np.unique(groups.label[asked])), np.flatnonzero(asked)

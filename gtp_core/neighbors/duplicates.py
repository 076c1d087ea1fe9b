"""What the Duplicates page and the command ask: counts, groups with their texts, use."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from gtp_core.catalog import Catalog
from gtp_core.errors import CatalogError
from gtp_core.neighbors.groups import Groups, Splits, group, group_table, read_splits
from gtp_core.neighbors.keepers import BASES, Decision, decide, preferred
from gtp_core.neighbors.kept import Neighbors
from gtp_core.neighbors.pairs import Likeness, cosines
from gtp_core.neighbors.text import shingle_likeness
from gtp_core.trajectories import open_trajectories

THRESHOLDS = {"text": 1.0, "near-text": 0.8, "gradient": 0.95}
"""From which similarity samples are duplicates, unless the curator says otherwise."""


def duplicates(
    catalog: Catalog,
    neighbors: Neighbors,
    thresholds: Mapping[str, float],
    scores: np.ndarray,
    *,
    rule: str,
    chains: bool = False,
) -> Decision:
    """Groups on the asked bases and who is kept of them, with the curator's edits in force.

    Args:
        thresholds: by basis; a basis that is not named drops nothing.
        scores: as `rule_scores` gives them.
        rule: which rule that is.
        chains: whether groups with a chain are split by complete linkage.

    Raises:
        CatalogError: an unknown basis, none, or a threshold below the floor or above 1.
    """
    if not thresholds:
        raise CatalogError(f"no basis is named; name at least one of {', '.join(BASES)}.")
    edits = catalog.edits()
    splits, keepers = Splits(chains=chains), []
    if any(edit.what in ("split", "keeper") for edit in edits):
        ids = catalog.sample_ids().to_list()
        row_of = {name: row for row, name in enumerate(ids)}
        splits = read_splits(edits, row_of, chains=chains)
        keepers = preferred(edits, row_of)
    groups = {}
    for basis in (*(b for b in BASES if b in thresholds), *(set(thresholds) - set(BASES))):
        likeness = _asked(neighbors, basis, thresholds[basis])
        groups[basis] = group(likeness, thresholds[basis], splits)
    return decide(groups, scores, rule=rule, splits=splits, keepers=keepers)


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
    """Samples by having a text twin and having a gradient twin: text, gradient, n (4 rows)."""
    n = decision.n_samples
    alike = {"text": np.zeros(n, bool), "gradient": np.zeros(n, bool)}
    for basis, groups in decision.groups.items():
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
        table = group_table(groups)
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


def shown_groups(
    catalog: Catalog,
    decision: Decision,
    basis: str,
    supports: Mapping[str, np.ndarray],
    *,
    most: int = 200,
) -> pl.DataFrame:
    """The largest groups on one basis, with the sample kept and how many each selection took.

    Returns:
        cluster, size, lowest, highest, chain, dropped, first (id), sources, then a column for each
        selection; the largest first, at most `most`.
    """
    groups = decision.groups[basis]
    table = group_table(groups).head(most)
    members = pl.DataFrame(
        {
            "cluster": groups.label,
            "dropped": ~decision.stays,
            **{name: np.isin(np.arange(decision.n_samples), s) for name, s in supports.items()},
        }
    ).filter(pl.col("cluster") >= 0)
    sums = members.group_by("cluster").agg(pl.all().sum())
    sources = catalog.query("SELECT source FROM samples ORDER BY row")["source"]
    inside = groups.label >= 0
    of_source = pl.DataFrame({"cluster": groups.label[inside], "source": sources.filter(inside)})
    named = of_source.group_by("cluster").agg(pl.col("source").unique().sort().str.join(", "))
    ids = catalog.sample_ids().gather(table["first"])
    return (
        table.with_columns(ids.alias("first"))
        .drop("distinct")
        .join(sums, on="cluster", how="left", maintain_order="left")
        .join(named.rename({"source": "sources"}), on="cluster", how="left", maintain_order="left")
    )


def members(
    catalog: Catalog, decision: Decision, basis: str, cluster: int, *, most: int = 50
) -> pl.DataFrame:
    """The members of a group, the kept ones first.

    Returns:
        row, sample_id, kept (the id that stands for it, or null), on (the basis), score, rule,
        to_first: similarity to the first member shown, exact, even below the threshold; source,
        n_tokens, prompt, completion.
    """
    groups = decision.groups[basis]
    rows = np.flatnonzero(groups.label == cluster)
    order = rows[np.lexsort((rows, ~decision.stays[rows]))][:most]
    ids = catalog.sample_ids()
    gone = decision.dropped.filter(pl.col("row").is_in(order.tolist()))
    gone = gone.select(
        "row",
        ids.gather(gone["keeper"]).alias("kept"),
        pl.col("basis").alias("on"),
        "score",
        "rule",
    )
    table = catalog.texts(order).join(gone, on="row", how="left", maintain_order="left")
    to_first = _similarities(catalog, basis, order, table)
    return table.with_columns(pl.Series("to_first", to_first, dtype=pl.Float64)).select(
        *("row", "sample_id", "kept", "on", "score", "rule", "to_first"),
        *("source", "n_tokens", "prompt", "completion"),
    )


def _similarities(
    catalog: Catalog, basis: str, rows: np.ndarray, texts: pl.DataFrame
) -> list[float]:
    if len(rows) == 0:
        return []
    if basis == "gradient":
        trajectories = open_trajectories(catalog.store)
        first = np.full(len(rows), rows[0])
        return cosines(trajectories, None, first, rows).astype(np.float64).tolist()
    whole = (texts["prompt"] + "\n" + texts["completion"]).to_list()
    if basis == "text":
        return [float(text == whole[0]) for text in whole]
    return [shingle_likeness(whole[0], text) for text in whole]


def pair_texts(catalog: Catalog, pairs: pl.DataFrame) -> pl.DataFrame:
    """Pairs of rows with their texts: side, score, sample_id, other_id, text, other_text."""
    text = pl.concat_str("prompt", pl.lit("\n"), "completion").alias("text")
    one = catalog.texts(pairs["row"].to_numpy()).select("sample_id", text)
    other = catalog.texts(pairs["other"].to_numpy()).select(
        pl.col("sample_id").alias("other_id"), text.alias("other_text")
    )
    return pl.concat([pairs.select("side", "score"), one, other], how="horizontal")


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

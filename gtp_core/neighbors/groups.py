"""Groups of duplicates at a threshold: what similarity connects, and what a curator took apart."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from gtp_core.catalog import Edit
from gtp_core.neighbors.complete import components
from gtp_core.neighbors.pairs import Likeness

LARGEST = 2000
"""Different members up to which a group is split by complete linkage."""

_APART = 2.0  # distance of members that are not alike; those of a curator's split are farther


@dataclass(frozen=True)
class Splits:
    """What a curator said are no duplicates.

    Attributes:
        pairs: rows (one < other) that must not share a keeper.
        whole: rows whose group is split until all its members are alike.
        chains: whether every group with a chain is.
    """

    pairs: frozenset[tuple[int, int]] = frozenset()
    whole: frozenset[int] = frozenset()
    chains: bool = False


@dataclass(frozen=True)
class Groups:
    """Groups in one respect, at one threshold.

    Attributes:
        likeness: what they rest on.
        threshold: similarity from which two samples are duplicates.
        label: (n_samples,) number of the group, from 0 in the order of their first rows; -1 alone.
        one, other, score: the pairs that hold them together, rows as in `likeness`.
    """

    likeness: Likeness
    threshold: float
    label: np.ndarray
    one: np.ndarray
    other: np.ndarray
    score: np.ndarray

    @property
    def count(self) -> int:
        """How many groups there are."""
        return int(self.label.max(initial=-1)) + 1

    @cached_property
    def table(self) -> pl.DataFrame:
        """`group_table` of these, made once."""
        return group_table(self)


def read_splits(edits: Iterable[Edit], row_of: dict[str, int], *, chains: bool = False) -> Splits:
    """The splits among the edits in force; ids that are not in the pool are left aside."""
    pairs: set[tuple[int, int]] = set()
    whole: set[int] = set()
    for edit in edits:
        if edit.what != "split":
            continue
        rows = {row_of[name] for name in edit.samples if name in row_of}
        if not edit.value:
            whole |= rows
        elif (other := row_of.get(edit.value)) is not None:
            pairs |= {(min(row, other), max(row, other)) for row in rows - {other}}
    return Splits(frozenset(pairs), frozenset(whole), chains)


def group(likeness: Likeness, threshold: float, splits: Splits = Splits()) -> Groups:
    """The groups that pairs of at least `threshold` connect, taken apart where asked for."""
    kept = likeness.score >= threshold - 1e-6
    one, other, score = likeness.one[kept], likeness.other[kept], likeness.score[kept]
    if splits.pairs:
        n = len(likeness.copies)
        kept = ~np.isin(one * n + other, apart_codes(likeness.copies, splits))
        one, other, score = one[kept], other[kept], score[kept]
    one, other, score = _split(likeness, one, other, score, threshold, splits)
    return Groups(likeness, threshold, _labels(likeness.copies, one, other), one, other, score)


def apart_codes(copies: np.ndarray, splits: Splits) -> np.ndarray:
    """Codes `one * n + other` of the first copies of pairs that do not stand for each other."""
    return np.array(sorted({_codes_of(copies, pair) for pair in splits.pairs}), np.int64)


def _codes_of(copies: np.ndarray, pair: tuple[int, int]) -> int:
    a, b = sorted(int(copies[row]) for row in pair)
    return a * len(copies) + b


def _labels(copies: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n_samples,) groups numbered by their first row; -1 where a sample is alone."""
    label = np.full(len(copies), -1, np.int64)
    same = np.flatnonzero((copies >= 0) & (copies != np.arange(len(copies))))
    found, nodes = components(np.concatenate([one, same]), np.concatenate([other, copies[same]]))
    if not len(nodes):
        return label
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    label[nodes] = rank[inverse]
    return label


def _split(
    likeness: Likeness,
    one: np.ndarray,
    other: np.ndarray,
    score: np.ndarray,
    threshold: float,
    splits: Splits,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs without those that cross a complete-link split of their group."""
    if not (splits.chains or splits.whole or splits.pairs):
        return one, other, score
    found, nodes = components(one, other)
    of_pair = found[np.searchsorted(nodes, one)]
    asked = {int(likeness.copies[row]) for row in splits.whole}
    asked |= {int(likeness.copies[row]) for pair in splits.pairs for row in pair}
    apart = {_codes_of(likeness.copies, pair) for pair in splits.pairs}
    keep = np.ones(len(one), bool)
    order = np.argsort(of_pair, kind="stable")
    edges = np.flatnonzero(np.diff(of_pair[order], prepend=-1))
    for mine in np.split(order, edges[1:]) if len(order) else []:
        members = np.unique(np.concatenate([one[mine], other[mine]]))
        chain = len(mine) < len(members) * (len(members) - 1) // 2
        if not chain or len(members) > LARGEST:
            continue
        if splits.chains or asked & set(members.tolist()):
            part = _complete_link(
                members, one[mine], other[mine], score[mine], threshold, apart, len(likeness.copies)
            )
            a, b = np.searchsorted(members, one[mine]), np.searchsorted(members, other[mine])
            keep[mine[part[a] != part[b]]] = False
    return one[keep], other[keep], score[keep]


def _complete_link(
    members: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    score: np.ndarray,
    threshold: float,
    apart: set[int],
    n: int,
) -> np.ndarray:
    """Parts (n_members,) of a group such that any two of a part are alike."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    far = np.full((len(members), len(members)), _APART)
    a, b = np.searchsorted(members, one), np.searchsorted(members, other)
    far[a, b] = far[b, a] = 1 - score.astype(np.float64)
    for code in apart:
        pair = np.searchsorted(members, [code // n, code % n]) % len(members)
        if members[pair[0]] == code // n and members[pair[1]] == code % n:
            far[pair[0], pair[1]] = far[pair[1], pair[0]] = _APART + 1
    np.fill_diagonal(far, 0.0)
    tree = linkage(squareform(far, checks=False), method="complete")
    return np.asarray(fcluster(tree, 1 - threshold + 1e-6, criterion="distance"))


def partly_seen(groups: Groups) -> np.ndarray:
    """(n_samples,) bool: who is in a group whose pairs were not all looked at."""
    seen, copies = groups.likeness.seen, groups.likeness.copies
    if seen is None:
        return np.zeros(len(copies), bool)
    rows = np.flatnonzero(groups.label >= 0)
    late = rows[seen[copies[rows]] > groups.threshold + 1e-6]
    return (groups.label >= 0) & np.isin(groups.label, np.unique(groups.label[late]))


def chain_words(groups: Groups, cluster: int) -> tuple[str, bool]:
    """What is said of a group in which two members are not known to be alike, and if it is split.

    Returns:
        one or two sentences, and whether complete linkage takes it apart.
    """
    members = np.flatnonzero(groups.label == cluster)
    distinct = len(np.unique(groups.likeness.copies[members]))
    told = f"This is a chain: some of its members are less alike than {groups.threshold:g}."
    if partly_seen(groups)[members[0]]:
        told = "This group is too large for all its pairs: not all of its members may be alike."
    if distinct > LARGEST:
        return (
            f"{told} It has {distinct:,} different members; only groups of up to {LARGEST:,} are "
            "split. A higher threshold makes smaller groups.",
            False,
        )
    return f"{told} Split takes it apart until all are alike.", True


def group_table(groups: Groups) -> pl.DataFrame:
    """One row per group, the largest first.

    Returns:
        cluster, size, distinct (members that are not entirely the same), lowest, mean and highest
        score of its pairs (1 among copies; of a chain, of the pairs that hold it together), chain:
        whether two members are not alike themselves, first: the row of its first member.
    """
    label, copies = groups.label, groups.likeness.copies
    rows = np.flatnonzero(label >= 0)
    members = pl.DataFrame({"cluster": label[rows], "row": rows, "copy": copies[rows]})
    times = np.bincount(copies[copies >= 0], minlength=len(copies))  # members that are one
    each = members.group_by("cluster", "copy").agg(
        pl.len().alias("times"), pl.col("row").min().alias("first")
    )
    among = pl.col("times") * (pl.col("times") - 1) // 2
    table = each.group_by("cluster").agg(
        pl.col("times").sum().alias("size"),
        pl.len().alias("distinct"),
        pl.col("first").min(),
        among.sum().alias("same"),
    )
    score = groups.score.astype(np.float64)
    count = times[groups.one] * times[groups.other]
    pairs = pl.DataFrame({"cluster": label[groups.one], "score": score, "count": count})
    scores = pairs.group_by("cluster").agg(
        pl.len().alias("pairs"),
        pl.col("score").min().alias("lowest"),
        pl.col("score").max().alias("highest"),
        (pl.col("score") * pl.col("count")).sum().alias("total"),
        pl.col("count").sum(),
    )
    wanted = pl.col("distinct") * (pl.col("distinct") - 1) // 2
    mean = (pl.col("total") + pl.col("same")) / (pl.col("count") + pl.col("same"))
    return (
        table.join(scores, on="cluster", how="left")
        .with_columns(
            (pl.col("pairs").fill_null(0) < wanted).alias("chain"),
            mean.fill_null(1.0).alias("mean"),
            pl.when(pl.col("same") > 0).then(1.0).otherwise(pl.col("highest")).alias("highest"),
            pl.col("lowest").fill_null(1.0),
        )
        .sort(["size", "cluster"], descending=[True, False])
        .select("cluster", "size", "distinct", "lowest", "mean", "highest", "chain", "first")
    )


def threshold_curve(likeness: Likeness, steps: int = 41) -> pl.DataFrame:
    """What every threshold from the floor to 1 would mean: threshold, groups, rows.

    `rows` are those beyond one of each group: what would go if chains were dropped whole, so the
    most that can go.
    """
    copies = likeness.copies
    one, other, score = _forest(likeness)
    rows = []
    for threshold in np.linspace(likeness.floor, 1.0, steps):
        kept = score >= threshold - 1e-6
        label = _labels(copies, one[kept], other[kept])
        groups = int(label.max(initial=-1)) + 1
        rows.append((round(float(threshold), 4), groups, int((label >= 0).sum()) - groups))
    return pl.DataFrame(rows, schema=["threshold", "groups", "rows"], orient="row")


def _forest(likeness: Likeness) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all pairs, those that connect the same groups at every threshold: fewer than samples."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    n = len(likeness.copies)
    # Pairs descend, so that their places stand for how unlike they are; 0 would be no pair.
    place = np.arange(1.0, len(likeness.one) + 1)
    tree = minimum_spanning_tree(coo_array((place, (likeness.one, likeness.other)), shape=(n, n)))
    kept = np.sort(tree.tocoo().data.astype(np.int64)) - 1
    return likeness.one[kept], likeness.other[kept], likeness.score[kept]


def score_histogram(likeness: Likeness, bins: int = 50) -> pl.DataFrame:
    """How many pairs there are of every similarity: similarity (middle of a bin), pairs."""
    edges = np.linspace(likeness.floor, 1.0, bins + 1)
    counts, _ = np.histogram(np.minimum(likeness.score, 1.0), edges)
    return pl.DataFrame({"similarity": (edges[1:] + edges[:-1]) / 2, "pairs": counts})


def size_table(groups: Groups) -> pl.DataFrame:
    """How many groups there are of every size: size, groups."""
    _, sizes = np.unique(groups.label[groups.label >= 0], return_counts=True)
    size, count = np.unique(sizes, return_counts=True)
    return pl.DataFrame({"size": size, "groups": count})

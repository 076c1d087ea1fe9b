"""One nearest-neighbour graph over the trajectories: duplicates, map and coverage rest on it."""

from gtp_core.neighbors.duplicates import (
    THRESHOLDS,
    cluster_use,
    counted,
    crossing,
    diff_lines,
    duplicates,
    guarantee,
    link_to,
    members,
    pair_texts,
    shown_groups,
    use_along,
    use_sentence,
    word_diff,
)
from gtp_core.neighbors.graph import Graph
from gtp_core.neighbors.groups import (
    Groups,
    group_table,
    pairs_near,
    score_histogram,
    size_table,
    threshold_curve,
)
from gtp_core.neighbors.keepers import (
    BASES,
    RULES,
    Decision,
    ledger,
    rule_scores,
    save_clusters,
    selection_scores,
)
from gtp_core.neighbors.kept import Neighbors, prepare_neighbors, saved_neighbors
from gtp_core.neighbors.pairs import Likeness

__all__ = [
    "BASES",
    "RULES",
    "THRESHOLDS",
    "Decision",
    "Graph",
    "Groups",
    "Likeness",
    "Neighbors",
    "cluster_use",
    "counted",
    "crossing",
    "diff_lines",
    "duplicates",
    "group_table",
    "guarantee",
    "ledger",
    "link_to",
    "members",
    "pair_texts",
    "pairs_near",
    "prepare_neighbors",
    "rule_scores",
    "save_clusters",
    "saved_neighbors",
    "score_histogram",
    "selection_scores",
    "shown_groups",
    "size_table",
    "threshold_curve",
    "use_along",
    "use_sentence",
    "word_diff",
]

"""One nearest-neighbour graph over the trajectories: duplicates, map and coverage rest on it."""

from gtp_core.neighbors.duplicates import (
    THRESHOLDS,
    cluster_use,
    counted,
    crossing,
    duplicates,
    guarantee,
    members,
    pair_texts,
    shown_groups,
    use_along,
    word_diff,
)
from gtp_core.neighbors.graph import Graph
from gtp_core.neighbors.groups import Groups, group_table, pairs_near, threshold_curve
from gtp_core.neighbors.keepers import (
    BASES,
    RULES,
    Decision,
    ledger,
    rule_scores,
    save_clusters,
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
    "duplicates",
    "group_table",
    "guarantee",
    "ledger",
    "members",
    "pair_texts",
    "pairs_near",
    "prepare_neighbors",
    "rule_scores",
    "save_clusters",
    "saved_neighbors",
    "shown_groups",
    "threshold_curve",
    "use_along",
    "word_diff",
]

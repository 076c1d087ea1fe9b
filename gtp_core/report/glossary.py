"""Every number and verdict that is shown: what it is, its formula, its range."""

import polars as pl

from gtp_core.report.verdicts import VERDICTS

METRICS = {
    "influence": ("what top-k ranks by (LESS)", "max over subtasks of <atom, target>", "-1 to 1"),
    "proxy": ("what the residual still asks of a sample", "<atom, residual>", "-1 to 1"),
    "weight": ("how much a chosen sample counts", "solves the ridge problem, >= 0", "0 and up"),
    "residual, weighted": (
        "what is left of the target when samples count with their weights",
        "|target - weights @ atoms| / |target|",
        "0 (all matched) to 1; above 1 is worse than nothing",
    ),
    "residual, as trained": (
        "what is left when all chosen samples count the same",
        "min over c >= 0 of |target - c * sum of atoms| / |target|",
        "0 to 1",
    ),
    "held-out match": (
        "how a selection fitted on one part of the examples matches the other",
        "cosine of weights @ atoms with the other part's target, mean over splits",
        "-1 to 1; compare with its ceiling",
    ),
    "ceiling": (
        "how well the parts of the examples match each other",
        "cosine of the two parts' targets, mean over splits",
        "-1 to 1",
    ),
    "reliability": (
        "how much of the target would come out again with other examples",
        "2 r / (1 + r), r the mean cosine of two halves (Spearman-Brown)",
        "0 to 1; below 0.5 a low residual may be fitted noise",
    ),
    "covered": (
        "share of a sample's gradient in the span of the chosen samples, itself apart",
        "1 - |(I - P) atom|^2 / |atom|^2",
        "0 to 1; chance covers n_chosen / dim",
    ),
    "gain": (
        "by how much the best weighted residual falls if a sample joins, or rises if it leaves",
        "difference of |residual| / |target|, weights solved anew, ridge and sign kept",
        "about 0 to 1; a ridge can make it slightly negative",
    ),
    "pull left": (
        "share of a sample's pull on the target that is not matched yet",
        "<atom, residual> / <atom, target>",
        "0 (all matched) to 1",
    ),
    "top-k rank": ("place by influence", "1 is the largest influence", "1 to the pool's size"),
    "cosine": ("how alike two directions are", "<a, b> / (|a| |b|)", "-1 to 1"),
}
"""By name: what it is, formula, range."""


def glossary() -> pl.DataFrame:
    """name, meaning, formula, range: every metric, then every verdict."""
    rows = [(name, *told) for name, told in METRICS.items()]
    rows += [(name, meaning, "verdict", "one per sample") for name, meaning in VERDICTS.items()]
    return pl.DataFrame(rows, schema=["name", "meaning", "formula", "range"], orient="row")

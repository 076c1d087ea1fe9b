"""The rules by which one of several duplicates is kept, and how well each sample does by them."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.errors import CatalogError
from gtp_core.neighbors.dates import DATE_FIELDS, sample_dates
from gtp_core.pursuit import Selection

RULES = {
    "weight": "the sample that the run gives the most weight, then the most influential",
    "gain": "the sample with the best conditional gain: its joining would lower the residual most, "
    "or its leaving raise it",
    "influence": "the most influential sample",
    "longest": "the sample with the most tokens",
    "newest": "the sample with the latest date in its record",
    "source": "the sample of the source named first",
    "first": "the first sample of the pool",
}
"""Who is kept, by default; ties go to the first of the pool."""

REASONS = {
    "weight": "most weight",
    "gain": "best gain",
    "influence": "most influential",
    "longest": "most tokens",
    "newest": "newest",
    "source": "its source comes first",
    "first": "first in the pool",
}
"""Why a rule keeps a sample, in a few words."""

_NEEDS = {"weight": "weights", "gain": "gain", "influence": "influence"}
WEIGHED = 10.0
"""Scores by weight begin here: any weight counts more than an influence, a mean of cosines."""


def rule_scores(
    catalog: Catalog,
    rule: str,
    *,
    weights: np.ndarray | None = None,
    influence: np.ndarray | None = None,
    gain: np.ndarray | None = None,
    sources: Sequence[str] = (),
) -> np.ndarray:
    """(n_samples,) float64: the higher, the sooner kept.

    Args:
        catalog: the pool.
        rule: a key of RULES.
        weights: (n_samples,) of a selection, 0 where not chosen; for `weight`.
        influence: (n_samples,) on a task; for `weight` and `influence`.
        gain: (n_samples,) conditional gains, NaN where not known; for `gain`.
        sources: in the order of preference; for `source`.

    Raises:
        CatalogError: an unknown rule, or one whose numbers are not given or not in the records.
    """
    if rule not in RULES:
        raise CatalogError(f"keeper rule {rule!r} is unknown; there are {', '.join(RULES)}.")
    if rule == "first":
        return np.zeros(catalog.store.n_samples)
    if rule in _NEEDS:
        return _of_a_run(rule, weights, influence, gain)
    if rule == "newest":
        return _newest(catalog)
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


def _of_a_run(
    rule: str, weights: np.ndarray | None, influence: np.ndarray | None, gain: np.ndarray | None
) -> np.ndarray:
    known = {"weights": weights, "influence": influence, "gain": gain}
    if known[_NEEDS[rule]] is None or (rule == "weight" and influence is None):
        raise CatalogError(
            f"keeper rule {rule!r} needs a run and its task. Name a run, or choose another "
            f"rule of {', '.join(RULES)}."
        )
    if rule == "gain":
        assert gain is not None
        return np.nan_to_num(np.asarray(gain, np.float64), nan=-np.inf)
    scores = np.nan_to_num(np.asarray(influence, np.float64), nan=-1.0, neginf=-1.0)
    if rule == "influence":
        return scores
    assert weights is not None
    share = weights / max(float(weights.max(initial=0.0)), 1e-30)
    return np.where(weights > 0, WEIGHED + share, scores)


def _newest(catalog: Catalog) -> np.ndarray:
    dates = sample_dates(catalog)
    if np.isnan(dates).all():
        raise CatalogError(
            "keeper rule 'newest' needs dates; no record of this store holds one "
            f"({', '.join(DATE_FIELDS)}). Choose another rule of {', '.join(RULES)}."
        )
    return np.nan_to_num(dates, nan=-np.inf)


def rules_without(catalog: Catalog) -> dict[str, str]:
    """The rules that mean nothing for this store, and why, in a few words."""
    found = {}
    if np.isnan(sample_dates(catalog)).all():
        found["newest"] = "no record of this store holds a date"
    if len(catalog.sources()) < 2:
        found["source"] = "all samples of this store are of one source"
    return found


def selection_scores(
    catalog: Catalog,
    problem: Problem,
    selection: Selection,
    rule: str,
    sources: Sequence[str] = (),
    gain: np.ndarray | None = None,
) -> np.ndarray:
    """`rule_scores` with the weights of a selection and the influence on its task."""
    weights = weights_of(problem, selection)
    return rule_scores(
        catalog, rule, weights=weights, influence=problem.influence, gain=gain, sources=sources
    )


def weights_of(problem: Problem, selection: Selection) -> np.ndarray:
    """(n_samples,) weights of a selection; 0 where not chosen."""
    weights = np.zeros(problem.atoms.n_samples)
    weights[selection.support] = selection.weights
    return weights

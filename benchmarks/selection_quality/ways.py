"""Ways to choose, and what is told of a choice before anything is trained on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.selection_quality.grounds import Ground
from gtp_core import Problem, Settings, pose, select
from gtp_core.atoms import weighted_sums
from gtp_core.methods import hierarchical
from gtp_core.methods.uniform import as_trained
from gtp_core.report import ALIKE, AUTO, as_alike, cosine, held_out, tuned
from gtp_core.verify.arms import Subset

FULL, COUNTERPART = "full", "counterpart"
TUNED = 5  # halvings that a rule for the ridge goes by
SPLITS = 1  # halvings of the validation examples for the held-out match, both ways round
PART = 1000
"""Samples of a part for `gtp-hierarchical`, so that these small pools have several."""


@dataclass(frozen=True)
class Way:
    """A way to choose.

    Attributes:
        weighted: whether training counts every sample by its weight, as the method means it.
        posed: how the problem is posed, where not by default.
        drawn: whether every seed has a subset of its own.
        apart: whether the task has no say in it, so that one subset serves several.
        ridge: the rule that chooses it: `auto`, by the held-out match, or `alike`, the least whose
            choice is as alike as the examples are.
    """

    method: str
    settings: Settings = field(default_factory=Settings)
    weighted: bool = False
    posed: Mapping[str, Any] = field(default_factory=dict)
    drawn: bool = False
    apart: bool = False
    ridge: str = ""


MAIN = {
    "gtp": Way("gtp", weighted=True),
    "gtp, ridge alike": Way("gtp", weighted=True, ridge=ALIKE),
    "gtp uniform": Way("gtp", Settings(weights="uniform")),
    "gtp-hierarchical": Way("gtp-hierarchical", weighted=True),
    "top-k": Way("top-k"),
    "omp": Way("omp", weighted=True),
    "grad-match": Way("grad-match", weighted=True),
    "craig": Way("craig", weighted=True, apart=True),
    "random": Way("random", drawn=True, apart=True),
    COUNTERPART: Way(COUNTERPART, drawn=True),
}
STUDY = {
    "gtp, weights dropped": Way("gtp"),
    "gtp, ridge 0.1": Way("gtp", Settings(ridge=0.1), weighted=True),
    "gtp, ridge 10": Way("gtp", Settings(ridge=10.0), weighted=True),
    "gtp, ridge 100": Way("gtp", Settings(ridge=100.0), weighted=True),
    "gtp, ridge 1000": Way("gtp", Settings(ridge=1000.0), weighted=True),
    "gtp, ridge auto": Way("gtp", weighted=True, ridge=AUTO),
    "gtp, direction kept": Way("gtp", weighted=True, posed={"common_direction": "kept"}),
    "gtp, subtasks each": Way("gtp", Settings(subtasks="each"), weighted=True),
    "gtp, first checkpoint": Way("gtp", weighted=True, posed={"checkpoints": "first"}),
    "gtp, last checkpoint": Way("gtp", weighted=True, posed={"checkpoints": "last"}),
}
WAYS = MAIN | STUDY


def count_of(ground: Ground, share: float) -> int:
    """Samples of a share of the pool, in percent."""
    return max(1, round(share / 100 * ground.catalog.store.n_samples))


def choice(ground: Ground, task: str, name: str, share: float, seed: int) -> dict[str, Any] | None:
    """Who is chosen, and what is known of that; None where there are not so many to draw from.

    Returns a dict with `rows` (ascending), `weights` (of mean one), `residual_weighted` and
    `residual_as_trained` (relative), `match` and `ceiling` (means over halvings of the validation
    examples, fitted on one half where the way fits), shares of `planted` faults, and `precision`,
    the share of the task's own kind.
    """
    way, count = WAYS[name], count_of(ground, share)
    problem = _posed(ground, task, way)
    if way.method == COUNTERPART:
        if task not in ground.counterparts:
            return None
        own = np.flatnonzero(ground.counterparts[task] & _valid(ground))
        if len(own) < count:
            return None
        rows = np.random.default_rng([seed, 11]).choice(own, count, replace=False)
        found = _plain(problem, np.sort(rows))
    elif way.drawn:
        settings = Settings(seed=seed)
        rows = select(problem, count, method=way.method, settings=settings).support
        found = _plain(problem, np.sort(rows))
    else:
        found = _fitted(problem, count, way, _ridged(ground, task, way, count))
    rows, mine = np.array(found["rows"]), ground.counterparts.get(task)
    planted = {fault: float(mask[rows].mean()) for fault, mask in ground.planted.items()}
    precision = None if mine is None else float(mine[rows].mean())
    told = {"task": task, "way": name, "share": share, "planted": planted}
    return {**told, "precision": precision, **found}


def whole(ground: Ground) -> Subset:
    """Everything that can be learned, each sample alike."""
    rows = np.flatnonzero(_valid(ground))
    return Subset(rows, np.ones(len(rows)))


def _valid(ground: Ground) -> np.ndarray:
    return np.asarray(ground.catalog.valid())


def _posed(ground: Ground, task: str, way: Way, splits: int = SPLITS) -> Problem:
    told = dict(way.posed)
    if "checkpoints" in told:
        names = [checkpoint.name for checkpoint in ground.catalog.store.checkpoints]
        kept = names[0] if told["checkpoints"] == "first" else names[-1]
        told["checkpoints"] = {name: 0.0 for name in names if name != kept}
    return pose(ground.catalog, ground.aims[task], n_splits=splits, **told)


def _plain(problem: Problem, rows: np.ndarray) -> dict[str, Any]:
    """What is known of samples that count alike and were fitted to nothing."""
    residual = as_trained(problem, rows) / float(np.linalg.norm(problem.target))
    total = weighted_sums(problem.atoms, rows, np.ones((1, len(rows))))[0]
    return {
        "rows": rows.tolist(),
        "weights": [1.0] * len(rows),
        "residual_weighted": residual,
        "residual_as_trained": residual,
        "match": float(np.mean([cosine(total, split.rest) for split in problem.splits])),
        "ceiling": float(np.mean([cosine(split.fit, split.rest) for split in problem.splits])),
    }


def _ridged(ground: Ground, task: str, way: Way, count: int) -> Settings:
    """The way's settings with the ridge that its rule chooses."""
    settings = way.settings
    if not way.ridge:
        return settings
    problem = _posed(ground, task, way, splits=TUNED)
    rule = as_alike if way.ridge == ALIKE else tuned
    return rule(problem, count, method=way.method, settings=settings).settings


def _fitted(problem: Problem, count: int, way: Way, settings: Settings) -> dict[str, Any]:
    hierarchical.PART, before = PART, hierarchical.PART
    try:
        found = select(problem, count, method=way.method, settings=settings)
        apart = held_out(problem, count, method=way.method, settings=settings)
    finally:
        hierarchical.PART = before
    order = np.argsort(found.support)
    rows, weights = found.support[order], found.weights[order]
    if not way.weighted or not weights.any():  # CRAIG's sum may point away from the target
        weights = np.ones(len(rows))
    rows, weights = rows[weights > 0], weights[weights > 0]
    return {
        "rows": rows.tolist(),
        "weights": np.round(weights / weights.mean(), 6).tolist(),  # two methods may agree
        "ridge": settings.ridge,
        "residual_weighted": found.residual_weighted,
        "residual_as_trained": found.residual_as_trained,
        "match": apart.match if apart else None,
        "ceiling": apart.ceiling if apart else None,
    }

"""Pose a store's pool against a task: which atoms, which target, in which geometry."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from gtp_core.atoms.aims import (
    POOL,
    Goal,
    join,
    join_halves,
    pool_goal,
    read_aim,
    spell_aim,
    task_goal,
    weights_of,
)
from gtp_core.atoms.capping import pool_caps
from gtp_core.atoms.matrix import StoredAtoms
from gtp_core.atoms.problem import Cap, Problem
from gtp_core.atoms.subspace import Subspaces
from gtp_core.catalog import Catalog
from gtp_core.errors import TaskError
from gtp_core.trajectories import Trajectories, open_task, open_trajectories

CommonDirection = Literal["kept", "removed"]
Gradients = Literal["unit", "raw"]
_NOTHING: Mapping[str, Any] = {}
DEFAULTS: Mapping[str, Any] = {
    "subtask_weights": {},
    "checkpoints": {},
    "caps": {},
    "gradients": "unit",
    "pool_digest": "",
}
"""Settings of a problem that came after the first prepared paths, when nothing is said of them."""


def pose(
    catalog: Catalog,
    task: str,
    *,
    common_direction: CommonDirection | None = None,
    gradients: Gradients = "unit",
    checkpoints: Mapping[str, float] = _NOTHING,
    subtask_weights: Mapping[str, float] = _NOTHING,
    where: str | None = None,
    pins: Sequence[str] = (),
    bans: Sequence[str] = (),
    caps: Mapping[str, int] = _NOTHING,
    n_splits: int = 5,
    seed: int = 0,
) -> Problem:
    """Pose a store's pool against a task, several tasks, or its own mean.

    Args:
        catalog: an open catalog.
        task: name of the task; `a,b` for the mean of two tasks' unit targets, `a=2,b=1` for a
            weighted one; `pool:mean` for the pool's own mean trajectory (in-domain selection).
        common_direction: whether the mean direction of the pool stays in atoms and target. By
            default it is removed, but kept when the pool's mean is matched: it is that direction.
        gradients: `unit` compares directions, as LESS does; `raw` lets every gradient keep its
            length, so that top-k ranks by plain inner products, as TRAK does.
        checkpoints: by name, a factor on a checkpoint's step size; 0 leaves it out.
        subtask_weights: by `task/subtask`, or by the subtask's name alone where that is unique;
            1 where nothing is said, 0 leaves a subtask out. Top-k ranks by the largest of the
            influences times these weights.
        where: SQL condition on the table `samples`; beside the pins, only rows that meet it may be
            chosen.
        pins: sample ids that must be chosen.
        bans: sample ids that must not be.
        caps: the most samples to choose of one `source`, one `cluster`, or of exact copies of
            each other (`duplicate`).
        n_splits: how often the validation examples (or the pool) are halved for the held-out match.
        seed: of the halving.

    Raises:
        TaskError: no such task, subtask or checkpoint, or nothing to aim at; pins beyond a cap.
        CatalogError: unknown ids, or a condition DuckDB refuses.
    """
    shares = read_aim(task)
    common_direction = _geometry(common_direction, shares)
    raw = _is_raw(gradients, shares)
    _check_counts(n_splits=n_splits, seed=seed)
    trajectories = open_trajectories(catalog.store, checkpoints, raw=raw)
    told = {name: float(factor) for name, factor in sorted(checkpoints.items()) if factor != 1}
    goals, weights = _goals(
        catalog, shares, trajectories, told, subtask_weights, n_splits, seed, raw
    )
    direction = catalog.common_direction() if common_direction == "removed" else None
    candidates, pinned = _candidates(catalog, where, pins, bans)
    table = catalog.query("SELECT n_tokens, source FROM samples ORDER BY row")
    sources = table["source"].rank("dense").to_numpy().astype(np.int64)
    target, subtasks, columns = _target(goals, shares, direction)
    limits = pool_caps(catalog, caps, sources, pinned)
    atoms = StoredAtoms(trajectories, candidates, direction)
    splits = join_halves(goals, shares, direction)
    return Problem(
        atoms=atoms,
        target=target,
        less_atoms=StoredAtoms(trajectories, candidates),
        subtasks=subtasks,
        columns=columns,
        pinned=pinned,
        caps=limits,
        splits=splits,
        tokens=table["n_tokens"].to_numpy(),
        sources=sources,
        n_examples=sum(goal.n_examples for goal in goals),
        loaded_influence=_loaded_influence(catalog, goals, bool(told or weights or raw)),
        subspaces=None
        if raw
        else Subspaces(
            atoms,
            catalog.valid(),
            catalog.store.digest,
            catalog.workspace / "subspaces",
            np.stack([target, *(split.fit for split in splits)]),
        ),
        settings={
            "task": spell_aim(shares),
            "subtasks": "mean",
            "subtask_weights": weights,
            "checkpoints": told,
            "common_direction": common_direction,
            "gradients": gradients,
            "where": where,
            "pins": sorted(set(pins)),
            "bans": sorted(set(bans)),
            "caps": dict(sorted(caps.items())),
            "pool_digest": _digest(candidates, limits) if where or "cluster" in caps else "",
            "n_splits": n_splits,
            "split_seed": seed,
        },
    )


def _geometry(
    common_direction: CommonDirection | None, shares: Mapping[str, float]
) -> CommonDirection:
    """Whether the common direction is kept; by default it is when the pool's mean is matched."""
    if common_direction not in (None, "kept", "removed"):
        raise TaskError(
            f"common_direction is {common_direction!r}; it must be 'kept' or 'removed'."
        )
    if POOL not in shares:
        return common_direction or "removed"
    if common_direction == "removed":
        raise TaskError(
            f"{POOL} is the common direction, so nothing of it is left once that is removed. "
            "Have the common direction kept, or choose a task."
        )
    return "kept"


def _is_raw(gradients: Gradients, shares: Mapping[str, float]) -> bool:
    if gradients not in ("unit", "raw"):
        raise TaskError(f"gradients is {gradients!r}; it must be 'unit' or 'raw'.")
    if gradients == "raw" and POOL in shares:
        raise TaskError(
            f"{POOL} is the mean of unit gradients, which raw ones are not compared with. "
            "Have gradients unit, or choose a task."
        )
    return gradients == "raw"


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 0:
            raise TaskError(f"{name}={value}; it must be a whole number of at least 0.")


def _goals(
    catalog: Catalog,
    shares: Mapping[str, float],
    trajectories: Trajectories,
    checkpoints: Mapping[str, float],
    told: Mapping[str, float],
    n_splits: int,
    seed: int,
    raw: bool,
) -> tuple[list[Goal], dict[str, float]]:
    """What is aimed at, in the order told, and the weights of subtasks by `task/subtask`."""
    tasks = {t: open_task(catalog.store, t, checkpoints, raw=raw) for t in shares if t != POOL}
    weights = weights_of(told, {name: task.subtasks for name, task in tasks.items()})
    goals = [
        task_goal(name, tasks[name], weights, n_splits, seed)
        if name in tasks
        else pool_goal(trajectories, catalog.valid(), n_splits, seed)
        for name in shares
    ]
    return goals, weights


def _target(
    goals: Sequence[Goal], shares: Mapping[str, float], direction: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Target (dim,), subtasks and columns (n_subtasks, dim) of all goals together."""
    for goal in goals:
        if not goal.whole.target(direction).any():
            raise TaskError(
                f"the target of task {goal.name!r} is zero; nothing can match it. "
                "Choose another task."
            )
    return join([goal.whole for goal in goals], shares, direction)


def _loaded_influence(catalog: Catalog, goals: Sequence[Goal], weighed: bool) -> np.ndarray | None:
    """What the catalog has loaded: it holds for one task with the store's own weights only."""
    if weighed or len(goals) > 1 or goals[0].name == POOL:
        return None
    return np.nan_to_num(catalog.influence(goals[0].name), nan=0.0)


def _digest(candidates: np.ndarray, caps: Sequence[Cap]) -> str:
    """Of who may be chosen and of all groups: a filter and clusters read tables that may change."""
    told = [candidates.tobytes(), *(cap.groups.tobytes() for cap in caps)]
    return hashlib.sha256(b"".join(told)).hexdigest()[:16]


def _candidates(
    catalog: Catalog, where: str | None, pins: Sequence[str], bans: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Who may be chosen (n_samples,) bool, and who must be."""
    valid = catalog.valid()
    candidates = valid.copy()
    if where:
        mask = np.zeros(catalog.store.n_samples, bool)
        mask[catalog.rows_where(where)] = True
        candidates &= mask
    candidates[catalog.rows_of(bans)] = False
    pinned = np.sort(catalog.rows_of(list(dict.fromkeys(pins))))
    both = sorted(set(pins) & set(bans))
    if both:
        raise TaskError(f"sample {both[0]!r} is both pinned and banned. Remove it from one list.")
    if not valid[pinned].all():
        bad = catalog.sample_ids()[int(pinned[~valid[pinned]][0])]
        raise TaskError(f"pinned sample {bad!r} has no usable gradient. Remove the pin.")
    candidates[pinned] = True
    if not candidates.any():
        raise TaskError(
            "no sample may be chosen: every one is invalid, banned or outside the filter. "
            "Loosen the filter or the bans."
        )
    return candidates, pinned

"""Pose a store's pool against a task: which atoms, which target, in which geometry."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from gtp_core.atoms.matrix import StoredAtoms, remove
from gtp_core.atoms.problem import Problem, Split
from gtp_core.catalog import Catalog
from gtp_core.errors import TaskError
from gtp_core.trajectories import TaskTrajectories, open_task, open_trajectories

CommonDirection = Literal["kept", "removed"]


def pose(
    catalog: Catalog,
    task: str,
    *,
    common_direction: CommonDirection = "removed",
    where: str | None = None,
    pins: Sequence[str] = (),
    bans: Sequence[str] = (),
    n_splits: int = 5,
    seed: int = 0,
) -> Problem:
    """Pose a store's pool against a task.

    Args:
        catalog: an open catalog.
        task: name of the task.
        common_direction: whether the mean direction of the pool stays in atoms and target.
        where: SQL condition on the table `samples`; only rows that meet it may be chosen.
        pins: sample ids that must be chosen.
        bans: sample ids that must not be.
        n_splits: how often the validation examples are halved for the held-out match.
        seed: of the halving.

    Raises:
        TaskError: no such task, or nothing to aim at.
        CatalogError: unknown ids, or a condition DuckDB refuses.
    """
    _check_posing(common_direction, n_splits, seed)
    examples = open_task(catalog.store, task)
    trajectories = open_trajectories(catalog.store)
    direction = catalog.common_direction() if common_direction == "removed" else None
    candidates, pinned = _candidates(catalog, where, pins, bans)
    table = catalog.query("SELECT n_tokens, source FROM samples ORDER BY row")
    target = _target(examples.rows, examples, direction)
    if not target.any():
        raise TaskError(f"the target of task {task!r} is zero; nothing can match it.")
    return Problem(
        atoms=StoredAtoms(trajectories, candidates, direction),
        target=target,
        less_atoms=StoredAtoms(trajectories, candidates),
        subtasks=examples.targets(),
        pinned=pinned,
        splits=_splits(examples, direction, n_splits, seed),
        tokens=table["n_tokens"].to_numpy(),
        sources=table["source"].rank("dense").to_numpy().astype(np.int64),
        n_examples=len(examples.rows),
        loaded_influence=np.nan_to_num(catalog.influence(task), nan=0.0),
        settings={
            "task": task,
            "subtasks": "mean",
            "common_direction": common_direction,
            "where": where,
            "pins": sorted(set(pins)),
            "bans": sorted(set(bans)),
            "n_splits": n_splits,
            "split_seed": seed,
        },
    )


def _check_posing(common_direction: str, n_splits: int, seed: int) -> None:
    if common_direction not in ("kept", "removed"):
        raise TaskError(
            f"common_direction is {common_direction!r}; it must be 'kept' or 'removed'."
        )
    for name, value in (("n_splits", n_splits), ("seed", seed)):
        if value < 0:
            raise TaskError(f"{name}={value}; it must be a whole number of at least 0.")


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


def _target(
    rows: np.ndarray, examples: TaskTrajectories, direction: np.ndarray | None
) -> np.ndarray:
    """Mean of the subtasks' mean rows (dim,), in the problem's geometry."""
    names = np.unique(examples.subtask)
    means = np.stack([rows[examples.subtask == s].mean(axis=0) for s in names])
    return remove(means.mean(axis=0, keepdims=True), direction)[0]


def _splits(
    examples: TaskTrajectories, direction: np.ndarray | None, n_splits: int, seed: int
) -> tuple[Split, ...]:
    """Halve the examples `n_splits` times, stratified by subtask; both halves fit in turn."""
    if len(examples.rows) < 2:
        return ()
    found = []
    for number in range(n_splits):
        half = _half(examples.subtask, np.random.default_rng([seed, number]))
        pieces = [_piece(examples, mask) for mask in (half, ~half)]
        targets = [_target(piece.rows, piece, direction) for piece in pieces]
        found.append(Split(targets[0], targets[1], pieces[0].targets()))
        found.append(Split(targets[1], targets[0], pieces[1].targets()))
    return tuple(found)


def _half(subtask: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(n_examples,) bool with half of every subtask; odd ones out go to the smaller side."""
    half = np.zeros(len(subtask), bool)
    for s in np.unique(subtask):
        members = generator.permutation(np.flatnonzero(subtask == s))
        extra = len(members) % 2 and half.sum() < (~half[subtask < s]).sum()
        half[members[: len(members) // 2 + int(extra)]] = True
    if not half.any():
        half[np.flatnonzero(subtask == subtask[0])[:1]] = True
    return half


def _piece(examples: TaskTrajectories, mask: np.ndarray) -> TaskTrajectories:
    codes, subtask = np.unique(examples.subtask[mask], return_inverse=True)
    names = tuple(examples.subtasks[c] for c in codes)
    return TaskTrajectories(examples.rows[mask], subtask, names, 0)

"""What a problem aims at: a task, several, or the pool itself; whole, and by halves to check it.

Spelled in one line: `maths`, `maths,dates`, `maths=2,dates=1`, or `pool:mean` for the pool's own
mean trajectory. Names of tasks hold no colon, comma or equals sign, so nothing collides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from gtp_core.atoms.block import remove
from gtp_core.atoms.problem import Split
from gtp_core.errors import TaskError
from gtp_core.trajectories import TaskTrajectories, Trajectories, column_sums

POOL = "pool:mean"
"""The spelling of in-domain selection: the target is the pool's own mean trajectory."""

_BLOCK = 16_384  # rows whose sums for all halves are taken while they are in memory


@dataclass(frozen=True)
class Aim:
    """Means to match: of a task's subtasks, or of the pool.

    Attributes:
        means: (n_subtasks, dim), nothing removed.
        weights: (n_subtasks,), above 0.
    """

    means: np.ndarray
    weights: np.ndarray

    def target(self, direction: np.ndarray | None) -> np.ndarray:
        """The weighted mean of the means (dim,), in the problem's geometry."""
        return remove(_weighted_mean(self.means, self.weights)[None], direction)[0]

    def columns(self, direction: np.ndarray | None) -> np.ndarray:
        """The means (n_subtasks, dim) in the problem's geometry, so that their mean is `target`."""
        return remove(self.subtasks(), direction)

    def subtasks(self) -> np.ndarray:
        """The means as LESS compares them, each times its share of the mean weight."""
        return self.means * (self.weights / self.weights.mean())[:, None]


@dataclass(frozen=True)
class Goal:
    """One part of what is aimed at.

    Attributes:
        name: of the task, or POOL.
        whole: all of it.
        halves: two disjoint halves of its examples, as often as it was halved.
        n_examples: examples it rests on.
    """

    name: str
    whole: Aim
    halves: tuple[tuple[Aim, Aim], ...]
    n_examples: int


def read_aim(text: str) -> dict[str, float]:
    """Names of tasks and their weights, in the order told; equal weights are all 1.

    Example:
        >>> read_aim("maths=2, dates")
        {'maths': 2.0, 'dates': 1.0}

    Raises:
        TaskError: an empty name, one told twice, or a weight that is no number above 0.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, told = (piece.strip() for piece in part.partition("="))
        if not name:
            raise TaskError(f"task {text!r} names no task before or after a comma. Name one there.")
        if name in found:
            raise TaskError(f"task {name!r} is named twice in {text!r}. Name it once.")
        found[name] = _weight(name, told) if equals else 1.0
    if len(set(found.values())) == 1:
        return dict.fromkeys(found, 1.0)
    return found


def _weight(name: str, told: str) -> float:
    try:
        weight = float(told)
    except ValueError:
        weight = -1.0
    if not 0 < weight < inf:
        raise TaskError(
            f"task {name!r} has weight {told!r}; give a number above 0, or leave the task out."
        )
    return weight


def spell_aim(shares: Mapping[str, float]) -> str:
    """The one spelling of these tasks and weights; `read_aim` reads it back."""
    if len(set(shares.values())) == 1:
        return ",".join(shares)
    told = {name: repr(weight).removesuffix(".0") for name, weight in shares.items()}
    return ",".join(f"{name}={weight}" for name, weight in told.items())


def weights_of(told: Mapping[str, float], tasks: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """Weights by `task/subtask`, without those of 1.

    Args:
        told: by `task/subtask`, or by the subtask alone where only one task has it.
        tasks: the subtasks of every task.

    Raises:
        TaskError: no such subtask, several of that name, one told twice, or a weight below 0.
    """
    known = {f"{task}/{name}": name for task, names in tasks.items() for name in names}
    found: dict[str, float] = {}
    for name, weight in told.items():
        meant = [name] if name in known else [key for key in known if known[key] == name]
        if not meant:
            choices = ", ".join(map(repr, known)) or "none at all"
            raise TaskError(f"subtask {name!r} is not there; there are {choices}. Choose of them.")
        if len(meant) > 1:
            raise TaskError(f"subtask {name!r} could be {' or '.join(meant)}. Write one of these.")
        if meant[0] in found:
            raise TaskError(f"subtask {meant[0]!r} is given two weights. Give it one.")
        if not 0 <= weight < inf:
            raise TaskError(f"subtask {name!r} has weight {weight}; give a number of at least 0.")
        found[meant[0]] = weight
    return {key: float(weight) for key, weight in sorted(found.items()) if weight != 1}


def task_goal(
    name: str,
    examples: TaskTrajectories,
    weights: Mapping[str, float],
    n_splits: int,
    seed: int,
) -> Goal:
    """A task as a goal, halved `n_splits` times, stratified by subtask.

    Args:
        name: of the task.
        examples: its trajectories.
        weights: by `task/subtask`; 1 where nothing is said, and 0 leaves a subtask out.
        n_splits: how often to halve.
        seed: of the halving.

    Raises:
        TaskError: every subtask has weight 0.
    """
    told = [weights.get(f"{name}/{subtask}", 1.0) for subtask in examples.subtasks]
    by_name = dict(zip(examples.subtasks, told, strict=True))
    if not any(told):
        raise TaskError(
            f"every subtask of task {name!r} has weight 0; a target needs at least one. "
            "Give one a weight above 0."
        )
    if not all(told):
        examples = piece(examples, np.array(told)[examples.subtask] > 0)
    halves = []
    for number in range(n_splits if len(examples.rows) > 1 else 0):
        mask = half(examples.subtask, np.random.default_rng([seed, number]))
        one, two = (_aim(piece(examples, side), by_name) for side in (mask, ~mask))
        halves.append((one, two))
    return Goal(name, _aim(examples, by_name), tuple(halves), len(examples.rows))


def _aim(examples: TaskTrajectories, weights: Mapping[str, float]) -> Aim:
    return Aim(examples.targets(), np.array([weights[name] for name in examples.subtasks]))


def pool_goal(trajectories: Trajectories, valid: np.ndarray, n_splits: int, seed: int) -> Goal:
    """The pool's own mean trajectory as a goal: over its valid samples, whatever may be chosen.

    One read of the store: the sums of all halves ride along, half a pass in memory for each.
    """
    rows = np.flatnonzero(valid)
    masks = np.zeros((1 + (n_splits if len(rows) > 1 else 0), len(valid)), bool)
    masks[0] = valid
    for number, mask in enumerate(masks[1:]):
        drawn = np.random.default_rng([seed, number]).permutation(rows)
        mask[drawn[: len(rows) // 2]] = True
    sums = _sums(trajectories, masks)
    counts = masks.sum(axis=1)
    halves = tuple(
        (_mean(half, n), _mean(sums[0] - half, len(rows) - n))
        for half, n in zip(sums[1:], counts[1:], strict=True)
    )
    return Goal(POOL, _mean(sums[0], counts[0]), halves, len(rows))


def _mean(total: np.ndarray, count: int) -> Aim:
    return Aim(total[None] / max(count, 1), np.ones(1))


def _sums(trajectories: Trajectories, masks: np.ndarray) -> np.ndarray:
    """Sum of the atoms under each mask (n_masks, n_samples): (n_masks, dim) float64."""
    pieces = []
    for parts, eta in zip(trajectories.parts, trajectories.eta, strict=True):
        total = np.zeros((len(masks), parts[0].shape[1]))
        start = 0
        for rows in parts:
            for begin in range(0, len(rows), _BLOCK):
                block = rows[begin : begin + _BLOCK]
                columns = slice(start + begin, start + begin + len(block))
                total += [column_sums(block, mask[columns]) for mask in masks]
            start += len(rows)
        pieces.append(np.sqrt(eta) * total)
    return np.hstack(pieces)


def join(
    aims: Sequence[Aim], shares: Mapping[str, float], direction: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Target (dim,), subtasks and columns (n_subtasks, dim) of one aim, or of several together.

    Subtasks are as LESS compares them. Columns are in the geometry of the target and scaled so that
    the target is their mean: what `subtasks=each` matches one by one. A target is long where its
    examples agree, so several are made unit vectors before their weighted mean is taken: otherwise
    the task whose examples agree most would drown the others.
    """
    if len(aims) == 1:
        return aims[0].target(direction), aims[0].subtasks(), aims[0].columns(direction)
    targets = np.stack([aim.target(direction) for aim in aims])
    lengths = np.maximum(np.linalg.norm(targets, axis=1, keepdims=True), 1e-30)
    targets /= lengths
    weights = np.array([*shares.values()])
    relative = weights / weights.mean()
    subtasks = [share * aim.subtasks() for share, aim in zip(relative, aims, strict=True)]
    # Every task has its share of the mean, whatever its number of subtasks.
    mean = len(np.vstack(subtasks)) / len(aims)
    columns = [
        share * mean / len(aim.means) * aim.columns(direction) / length
        for share, aim, length in zip(relative, aims, lengths, strict=True)
    ]
    return _weighted_mean(targets, weights), np.vstack(subtasks), np.vstack(columns)


def join_halves(
    goals: Sequence[Goal], shares: Mapping[str, float], direction: np.ndarray | None
) -> tuple[Split, ...]:
    """Every halving of all goals as two splits: both halves fit in turn.

    None when a goal cannot be halved: what is left would be another target.
    """
    found = []
    for halves in zip(*(goal.halves for goal in goals), strict=False):
        one, two = (join([pair[side] for pair in halves], shares, direction) for side in (0, 1))
        found.append(Split(one[0], two[0], *one[1:]))
        found.append(Split(two[0], one[0], *two[1:]))
    return tuple(found)


def _weighted_mean(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of rows (n, dim); plainly summed when the weights are equal."""
    if (weights == weights[0]).all():
        return rows.mean(axis=0)
    return (weights / weights.sum()) @ rows


def half(subtask: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(n_examples,) bool with half of every subtask; odd ones out go to the smaller side."""
    chosen = np.zeros(len(subtask), bool)
    for s in np.unique(subtask):
        members = generator.permutation(np.flatnonzero(subtask == s))
        extra = len(members) % 2 and chosen.sum() < (~chosen[subtask < s]).sum()
        chosen[members[: len(members) // 2 + int(extra)]] = True
    if not chosen.any():
        chosen[np.flatnonzero(subtask == subtask[0])[:1]] = True
    return chosen


def piece(examples: TaskTrajectories, mask: np.ndarray) -> TaskTrajectories:
    """The examples under a mask (n_examples,), with the subtasks that are left."""
    codes, subtask = np.unique(examples.subtask[mask], return_inverse=True)
    names = tuple(examples.subtasks[c] for c in codes)
    return TaskTrajectories(examples.rows[mask], subtask, names, 0)

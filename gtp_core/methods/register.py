"""The register of methods, their settings, and what all of them share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gtp_core.atoms import Problem, weighted_sums
from gtp_core.pursuit import Round, Selection, Stop, best_multiple, relative_residuals

OnRound = Callable[[Round], bool | None]
FILLS = ("none", "influence")
WEIGHTS = ("non-negative", "uniform")
SUBTASKS = ("mean", "each")


@dataclass(frozen=True)
class Settings:
    """What a curator may set; every method takes all and uses what concerns it.

    Attributes:
        ridge: dial from choosing together (0) to choosing alone (large). The default of 1 is
            the compromise that the demo's held-out match speaks for: from 5 % of the pool on, less
            ridge fits noise (0.65 against 0.62 at ridge 0.1, 200 samples for tidy-data); at 0.5 %
            less is better for one task (0.62 against 0.57 at 0.1, shop-arithmetic).
        max_rounds: upper limit of pursuit's rounds.
        tolerance: pursuit stops at this relative residual.
        fill: what to do when fewer samples than the budget explain the target: `none`, or
            `influence` to top up with the best ranked of the rest.
        seed: of random choices.
        weights: `non-negative`, fitted to the target, or `uniform`: the samples are chosen as
            they will be trained when nobody weighs them, fewer than the budget where `fill` is
            `none` and fewer match better. For `gtp` and `gtp-hierarchical`; `omp`,
            `grad-match` and `craig` have weights of their own, the others equal ones anyway.
        subspace: `none`, or `pca:256`: pursue in the 256 principal directions of every
            checkpoint's gradients, then end in full dimension. For `gtp` and `gtp-hierarchical`;
            the other methods have no use for it.
        subtasks: `mean` matches the mean of a task's subtasks, `each` every one of them with
            weights of its own on the same samples. Top-k always takes the best subtask.
    """

    ridge: float = 1.0
    max_rounds: int = 300
    tolerance: float = 1e-6
    fill: str = "none"
    seed: int = 0
    weights: str = "non-negative"
    subspace: str = "none"
    subtasks: str = "mean"


class Method(Protocol):
    """A way to select: at most `count` samples for a problem."""

    def __call__(
        self,
        problem: Problem,
        count: int,
        settings: Settings,
        on_round: OnRound | None,
    ) -> Selection: ...


METHODS: dict[str, Method] = {}
PASSES: dict[str, str] = {}


def method(name: str, *, passes: str) -> Callable[[Method], Method]:
    """Register a method under a name; `passes` is its cost in passes over the atoms."""

    def register(function: Method) -> Method:
        METHODS[name] = function
        PASSES[name] = passes
        return function

    return register


def label(name: str) -> str:
    """What a method is, in one line."""
    return (METHODS[name].__doc__ or "").strip().splitlines()[0].rstrip(".")


def equal_weights(
    problem: Problem,
    name: str,
    count: int,
    support: np.ndarray,
    *,
    pruned: np.ndarray | None = None,
    stop: Stop = Stop.RANKED,
) -> Selection:
    """A selection whose weights are all the one number that fits the target best."""
    total = weighted_sums(problem.atoms, support, np.ones((1, len(support))))[0]
    weight = best_multiple(total, problem.target)
    weights = np.full(len(support), weight)
    return finish(problem, name, count, support, weights, pruned=pruned, stop=stop)


def finish(
    problem: Problem,
    name: str,
    count: int,
    support: np.ndarray,
    weights: np.ndarray,
    *,
    stop: Stop,
    n_filled: int = 0,
    rounds: tuple[Round, ...] = (),
    pruned: np.ndarray | None = None,
) -> Selection:
    """Residuals from the weights themselves, and everything in one object."""
    both = np.stack([weights, np.ones(len(support))])
    combined, total = weighted_sums(problem.atoms, support, both)
    weighted, as_trained = relative_residuals(combined, total, problem.target)
    return Selection(
        method=name,
        budget=count,
        support=support,
        weights=weights,
        n_filled=n_filled,
        residual_weighted=weighted,
        residual_as_trained=as_trained,
        rounds=rounds or (Round(len(support), 0, 0, weighted),),
        pruned=np.empty(0, np.int64) if pruned is None else pruned,
        stop=stop,
    )

"""GTP against greedy matching where the inner products of all atoms met are too many to keep.

    python -m benchmarks.synthetic STORE --samples 67670
    python -m benchmarks.greedy_many STORE --budgets 900 [--ridges 1] [--task T] [--workspace F]

omp and gtp are those of the register, on the same atoms and for the same target; `rows alone` is
gtp without the last comparison of the best atoms met. Every number is the objective
|target - w A|^2 + ridge |w|^2 as a share of |target|^2, worked out here from weights and the atoms
of the support, whose residual is asserted to be the one that was reported. Seconds are of one call.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import closing
from unittest.mock import patch

import numpy as np

from benchmarks.stages import compile_loops
from gtp_core import Problem, Settings, open_catalog, pose, select

HEAD = "| budget | ridge | omp | gtp | rows alone | gtp / omp | omp, s | gtp, s | rows alone, s |"


def solved(problem: Problem, method: str, budget: int, ridge: float) -> tuple[float, float]:
    """The objective that a method ends at, and its seconds."""
    start = time.perf_counter()
    chosen = select(problem, budget, method=method, settings=Settings(ridge=ridge))
    seconds = time.perf_counter() - start
    assert 0 < len(chosen.support) <= budget
    assert chosen.weights.min() >= 0
    atoms, target = problem.atoms.rows(chosen.support), problem.target
    left = target - chosen.weights @ atoms.astype(np.float64)
    reported = chosen.residual_weighted * np.linalg.norm(target)
    assert np.isclose(np.linalg.norm(left), reported, rtol=1e-5), (method, budget)
    penalty = ridge * float(chosen.weights @ chosen.weights)
    return (float(left @ left) + penalty) / float(target @ target), seconds


def lines(problem: Problem, budgets: list[int], ridges: list[float]) -> Iterator[str]:
    """A row of the table for each ridge and budget."""
    for ridge in ridges:
        for budget in budgets:
            omp, omp_seconds = solved(problem, "omp", budget, ridge)
            gtp, gtp_seconds = solved(problem, "gtp", budget, ridge)
            with patch("gtp_core.pursuit.hunt.closing_pace", return_value=None):
                alone, alone_seconds = solved(problem, "gtp", budget, ridge)
            yield (
                f"| {budget:,} | {ridge:g} | {omp:.5f} | {gtp:.5f} | {alone:.5f} "
                f"| {gtp / omp:.4f} | {omp_seconds:.1f} | {gtp_seconds:.1f} | {alone_seconds:.1f} |"
            )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("--task", help="by default the store's first")
    parser.add_argument("--workspace")
    parser.add_argument("--budgets", type=int, nargs="+", required=True)
    parser.add_argument("--ridges", type=float, nargs="+", default=[1.0])
    options = parser.parse_args()
    compile_loops()
    with closing(open_catalog(options.store, workspace=options.workspace)) as catalog:
        task = options.task or catalog.store.task_names[0]
        problem = pose(catalog, task, n_splits=0)
        print(HEAD)
        print("|---" * HEAD.count(" | ") + "|---|")
        for line in lines(problem, options.budgets, options.ridges):
            print(line, flush=True)


if __name__ == "__main__":
    main()

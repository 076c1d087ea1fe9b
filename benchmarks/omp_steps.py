"""What GRAD-MATCH's solver would take at a scale where it cannot finish, from single steps of it.

    python -m benchmarks.omp_steps STORE --task T [--budget 1% ...] [--ridge 0.5] [--most 8192]

Its solver (see `benchmarks.omp_ratio`) chooses one sample a step: a product of all atoms with the
residual, then the inner products of all chosen, formed anew, and their weights. Both are timed on
the store: the product as our own pass, which is the fastest there is here and reads half the bytes
of float32; the rest at 128, 256, 512, ... chosen up to --most, between them and beyond by the power
law of the nearest two. The sum over all steps is the `solver` column: that is an extrapolation, and
called one. `gtp` is measured in the same run.

Before that, the same sum is compared with a run to its end of the solver on a pool where it can
finish, which must not be more than a third off.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import closing

import numpy as np

from benchmarks.greedy import coherent_pool
from benchmarks.omp_ratio import LAMBDA, PAPER, cords
from benchmarks.stages import compile_loops
from gtp_core import Problem, Settings, open_catalog, pose, select
from gtp_core.methods import samples_of

MOST_OFF = 1 / 3
Seconds = dict[int, float]


def timed(work: Callable[[], object], times: int) -> float:
    """The shortest of so many calls, in seconds."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def refit(rows: np.ndarray, target: np.ndarray, ridge: float) -> None:
    """What a step does beside the product with all atoms; rows (k, dim) float32."""
    normal = rows @ rows.T + np.float32(ridge) * np.eye(len(rows), dtype=np.float32)
    weights = np.linalg.solve(normal, rows @ target)
    _ = target - weights @ rows


def refits(rows: np.ndarray, target: np.ndarray, ridge: float) -> Seconds:
    """Seconds of a step at 1, 128, 256, ... of these rows."""
    counts = [1, *(2**e for e in range(7, 30) if 2**e <= len(rows))]
    wanted, found = target.astype(np.float32), {}
    for count in counts:
        some = rows[:count]
        found[count] = timed(lambda some=some: refit(some, wanted, ridge), 3 if count < 2000 else 1)  # type: ignore[misc]
    return found


def summed(seconds: Seconds, product: float, budget: int) -> float:
    """All steps to a budget: a product each, and refits by the power law of the nearest two."""
    counts = np.array(sorted(seconds), float)
    logs, values = np.log(counts), np.log([seconds[int(k)] for k in counts])
    steps = np.log(np.arange(1, budget + 1))
    beyond = (values[-1] - values[-2]) / (logs[-1] - logs[-2])
    inside = np.interp(steps, logs, values)
    told = np.where(steps > logs[-1], values[-1] + beyond * (steps - logs[-1]), inside)
    return budget * product + float(np.exp(told).sum())


def asserted(n_samples: int, dim: int, budget: int) -> float:
    """The share by which the sum misses a run to its end."""
    matrix, target = coherent_pool(n_samples, dim)
    narrow = matrix.astype(np.float32)
    residual = target.astype(np.float32)
    product = timed(lambda: narrow @ residual, 5)
    start = time.perf_counter()
    found = cords(narrow, target, budget, LAMBDA)
    seconds = time.perf_counter() - start
    told = summed(refits(narrow[found.support], target, LAMBDA), product, len(found.support))
    off = told / seconds - 1
    assert abs(off) <= MOST_OFF, f"summed {told:.2f} s, measured {seconds:.2f} s"
    return off


def compared(problem: Problem, budget: int, most: int, *, ridge: float = LAMBDA) -> str:
    """A line: GTP measured, the solver summed from its steps."""
    start = time.perf_counter()
    chosen = select(problem, budget, settings=Settings(ridge=ridge))
    ours = time.perf_counter() - start
    product = timed(lambda: problem.atoms.products(problem.target[None]), 2)
    rows = problem.atoms.rows(chosen.support[:most])
    steps = refits(rows, problem.target, ridge)
    theirs = summed(steps, product, budget)
    cells = [f"{budget:,}", f"{ours:,.0f}", f"{chosen.residual_weighted:.3f}", f"{product:.2f}"]
    cells += [f"{max(steps):,}: {steps[max(steps)]:.2f}", f"{theirs / 3600:,.1f} h"]
    return "| " + " | ".join([*cells, f"{theirs / ours:,.0f}x"]) + " |"


def main() -> None:
    """Check the sum where the solver can finish, then print a line for each budget."""
    parser = argparse.ArgumentParser(description="GTP against the steps of GRAD-MATCH's solver.")
    parser.add_argument("store")
    parser.add_argument("--task", required=True)
    parser.add_argument("--budget", action="append")
    parser.add_argument("--ridge", type=float, default=LAMBDA, help="of both (default: CORDS's)")
    parser.add_argument("--most", type=int, default=8192)
    parser.add_argument("--workspace")
    options = parser.parse_args()
    compile_loops()
    off = asserted(30_000, 1024, 600)
    print(f"on 30,000 x 1,024, 600 chosen, the sum is {off:+.0%} of the run to its end")
    with closing(open_catalog(options.store, workspace=options.workspace)) as catalog:
        problem = pose(catalog, options.task)
        print("| budget | gtp, s | residual | a product, s | a refit, s | solver, summed | ratio |")
        print("|---|---|---|---|---|---|---|")
        for text in options.budget or ["1%", "5%"]:
            candidates = int(problem.atoms.candidates.sum())
            budget = samples_of(text, problem.atoms.n_samples, candidates)
            print(compared(problem, budget, options.most, ridge=options.ridge), flush=True)
    print(f"The paper has {PAPER:,}x.")


if __name__ == "__main__":
    main()

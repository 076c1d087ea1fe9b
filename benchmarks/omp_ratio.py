"""How much faster GTP is than orthogonal matching pursuit, over growing problems.

    python -m benchmarks.omp_ratio

Pools of `benchmarks.greedy.coherent_pool`: the budget grows, then the samples, then the dimensions.
All solve for the same atoms, whose numbers are those of float16:

- sklearn: scikit-learn's `orthogonal_mp`, ridge 0, its only one, on float64 rows; weights of either
  sign, so it solves an easier problem;
- cords: the solver of GRAD-MATCH in CORDS (Killamsetty et al. 2021), written here from its
  description: per step the product of all atoms with the residual, the largest enters, the inner
  products of all chosen are formed anew, ridge weights are solved for, negative ones leave;
- gtp: GTP as registered, at ridge 0 beside sklearn, and at CORDS's lambda of 0.5 beside cords.

residual is |target - w A| / |target|; objective |target - w A|^2 + ridge |w|^2 over |target|^2,
both worked out here from weights and atoms. Seconds are of one call.

At LESS's scale neither solver can run (float64 atoms alone are 71 GB); `benchmarks.omp_steps` says
what it would take there.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.greedy import Found, coherent_pool, sklearn_weights
from benchmarks.stages import compile_loops
from gtp_core import Problem, Settings, select
from gtp_core.atoms import StoredAtoms, pose_array
from gtp_core.trajectories import Trajectories

PAPER = 1717
LAMBDA = 0.5
SIZES = (
    *((30_000, 1024, budget) for budget in (30, 100, 300, 600)),
    *((n_samples, 1024, 300) for n_samples in (7_500, 15_000, 60_000, 120_000)),
    *((30_000, dim, 300) for dim in (512, 2048)),
)
HEAD = (
    "| samples x dim | budget | sklearn, s | gtp, s | ratio | residual: sklearn | gtp "
    "| cords, s | gtp, s | ratio | objective: cords | gtp |"
)


@dataclass(frozen=True)
class Timed:
    """An answer and its seconds."""

    found: Found
    seconds: float


def pool(n_samples: int, dim: int) -> tuple[Problem, np.ndarray]:
    """A problem over float16 atoms in memory, and the same atoms as float64 (n_samples, dim)."""
    matrix, target = coherent_pool(n_samples, dim)
    rows = matrix.astype(np.float16)
    whole = Trajectories(((rows,),), np.ones(1))
    posed = pose_array(np.eye(1, dim), target)
    atoms = StoredAtoms(whole, np.ones(n_samples, bool))
    ones = np.ones(n_samples, np.int64)
    problem = Problem(
        atoms=atoms,
        target=posed.target,
        less_atoms=atoms,
        subtasks=target[None],
        pinned=posed.pinned,
        tokens=ones,
        sources=np.zeros(n_samples, np.int64),
    )
    return problem, rows.astype(np.float64)


def cords(matrix: np.ndarray, target: np.ndarray, budget: int, ridge: float) -> Found:
    """GRAD-MATCH's solver, step by step as CORDS has it."""
    wanted = target.astype(np.float32)
    support, weights, residual = np.empty(0, np.int64), np.empty(0), wanted
    for _ in range(budget):
        correlation = matrix @ residual
        enters = int(correlation.argmax())
        if enters in support or correlation[enters] <= 0:
            break
        support = np.append(support, enters)
        while True:
            rows = matrix[support]
            normal = rows @ rows.T + np.float32(ridge) * np.eye(len(support), dtype=np.float32)
            weights = np.linalg.solve(normal, rows @ wanted)
            if weights.min(initial=0) >= 0:
                break
            support = support[np.arange(len(support)) != weights.argmin()]
        residual = wanted - weights @ rows
    exact = weights.astype(np.float64)
    left = target - exact @ matrix[support].astype(np.float64)
    return Found(support, exact, float(np.linalg.norm(left) / np.linalg.norm(target)))


def sklearn(matrix: np.ndarray, target: np.ndarray, budget: int) -> Found | None:
    """scikit-learn's answer; None if it stops early over atoms that depend on each other."""
    every = sklearn_weights(matrix, target, budget)
    if every is None:
        return None
    support = np.flatnonzero(every)
    weights = every[support].astype(np.float64)
    left = target - weights @ matrix[support].astype(np.float64)
    return Found(support, weights, float(np.linalg.norm(left) / np.linalg.norm(target)))


def gtp(problem: Problem, budget: int, ridge: float) -> Found:
    """GTP as registered."""
    chosen = select(problem, budget, settings=Settings(ridge=ridge))
    return Found(chosen.support, chosen.weights, chosen.residual_weighted)


def timed(work: Callable[[], Found | None]) -> Timed | None:
    """One call; None where the solver gave up."""
    start = time.perf_counter()
    found = work()
    return Timed(found, time.perf_counter() - start) if found else None


def objective(problem: Problem, found: Found, ridge: float) -> float:
    """|target - w A|^2 + ridge |w|^2 over |target|^2, the reported residual asserted first."""
    rows = problem.atoms.rows(found.support).astype(np.float64)
    left = problem.target - found.weights @ rows
    scale = float(problem.target @ problem.target)
    share = float(left @ left) / scale
    assert abs(np.sqrt(share) - found.residual) <= 1e-4, (np.sqrt(share), found.residual)
    return share + ridge * float(found.weights @ found.weights) / scale


def one_size(n_samples: int, dim: int, budget: int) -> tuple[str, dict[str, float]]:
    """A line, and the ratios of time it measured, by solver."""
    problem, matrix = pool(n_samples, dim)
    narrow = matrix.astype(np.float32)
    cells, ratios = [f"{n_samples:,} x {dim:,}", str(budget)], {}
    solvers: dict[str, tuple[float, Callable[[], Found | None]]] = {
        "sklearn": (0.0, lambda: sklearn(matrix, problem.target, budget)),
        "cords": (LAMBDA, lambda: cords(narrow, problem.target, budget, LAMBDA)),
    }
    for name, (ridge, solve) in solvers.items():
        ours = timed(lambda ridge=ridge: gtp(problem, budget, ridge))  # type: ignore[misc]
        assert ours is not None
        theirs = timed(solve)
        values = [objective(problem, t.found, ridge) if t else None for t in (theirs, ours)]
        told = [value**0.5 if value and not ridge else value for value in values]
        if theirs:
            ratios[name] = theirs.seconds / ours.seconds
        cells += [f"{theirs.seconds:.2f}" if theirs else "", f"{ours.seconds:.2f}"]
        cells.append(f"{ratios[name]:.1f}x" if theirs else "")
        cells += [f"{value:.4f}" if value is not None else "" for value in told]
    return "| " + " | ".join(cells) + " |", ratios


def main() -> None:
    """Print the table and what it comes to."""
    argparse.ArgumentParser(description="GTP against orthogonal matching pursuit.").parse_args()
    compile_loops()
    print(HEAD + "\n" + "|---" * HEAD.count(" | ") + "|---|")
    found: dict[str, list[float]] = {"sklearn": [], "cords": []}
    for size in SIZES:
        line, ratios = one_size(*size)
        print(line, flush=True)
        for name, ratio in ratios.items():
            found[name].append(ratio)
    for name, measured in found.items():
        print(f"{name}: {min(measured):.1f} to {max(measured):.1f}x; the paper has {PAPER:,}x.")


if __name__ == "__main__":
    main()

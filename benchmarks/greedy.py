"""GTP against greedy matching, one atom at a time, on the demo: what is left, and how long it took.

    python -m benchmarks.greedy [store]

Greedy matching is orthogonal matching pursuit (Pati et al. 1993) with the same exact non-negative
ridge weights as GTP, refitted after every atom, as GRAD-MATCH (Killamsetty et al. 2021) does.
`plain` is CoSaMP without the retries. All run in one process on the same atoms in memory and
minimise the same objective, printed as a share of its value at zero weights; they are different
heuristics, so their answers differ. `faster` compares greedy and gtp.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gtp_core.atoms import Atoms, pose
from gtp_core.catalog import open_catalog
from gtp_core.pursuit import _Working, non_negative_ridge, pursue

DEMO = Path(__file__).resolve().parent.parent / "data" / "demo"
BUDGETS = (20, 100, 200)
RIDGES = (0.0, 0.1, 1.0)


def greedy(
    matrix: np.ndarray, target: np.ndarray, budget: int, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Support and weights, one atom at a time."""
    support = np.empty(0, np.int64)
    weights, residual = np.empty(0), target
    while len(support) < budget:
        proxies = matrix @ residual
        proxies[support] = -np.inf
        if proxies.max() <= 1e-12:
            break
        support = np.append(support, proxies.argmax())
        rows = matrix[support]
        start = np.append(weights, 0.0)
        weights = non_negative_ridge(rows @ rows.T, rows @ target, ridge, start)
        residual = target - weights @ rows
    return support, weights


def plain(
    atoms: Atoms, target: np.ndarray, budget: int, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Support and weights of CoSaMP that stops at the first round that fails."""
    nobody = np.empty(0, np.int64)
    working = _Working(atoms, target, ridge)
    best = working.fit(nobody, np.empty(0))
    while True:
        entering = atoms.strongest(best.residual, 2 * budget)
        state = working.round(best, entering, nobody, budget)
        if state.objective >= best.objective * (1 - 1e-12):
            return best.support, best.weights
        best = state


def objective(
    matrix: np.ndarray, target: np.ndarray, support: np.ndarray, weights: np.ndarray, ridge: float
) -> float:
    """1/2 |target - w A|^2 + ridge/2 |w|^2, as a share of 1/2 |target|^2."""
    residual = target - weights @ matrix[support]
    return float((residual @ residual + ridge * weights @ weights) / (target @ target))


def main() -> None:
    """Print a row for each task, ridge and budget."""
    store = sys.argv[1] if len(sys.argv) > 1 else str(DEMO)
    with tempfile.TemporaryDirectory() as folder:
        catalog = open_catalog(store, workspace=folder)
        print(
            f"{'task':18}{'ridge':>6}{'budget':>7}{'greedy':>9}{'plain':>9}{'gtp':>9}{'faster':>8}"
        )
        for task in catalog.store.task_names:
            problem = pose(catalog, task, n_splits=0)
            matrix = problem.atoms.rows(np.arange(problem.atoms.n_samples)).astype(np.float64)
            pursue(problem.atoms, problem.target, 5)  # compiles the inner loops
            for ridge in RIDGES:
                for budget in BUDGETS:
                    start = time.perf_counter()
                    slow = greedy(matrix, problem.target, budget, ridge)
                    middle = time.perf_counter()
                    fast = pursue(problem.atoms, problem.target, budget, ridge=ridge)
                    end = time.perf_counter()
                    rounds = plain(problem.atoms, problem.target, budget, ridge)
                    left = [
                        objective(matrix, problem.target, *answer[:2], ridge)
                        for answer in (slow, rounds, fast)
                    ]
                    ratio = (middle - start) / (end - middle)
                    print(
                        f"{task:18}{ridge:6.1f}{budget:7,}{left[0]:9.4f}{left[1]:9.4f}{left[2]:9.4f}"
                        f"{ratio:7.0f}x",
                        flush=True,
                    )
        catalog.close()


if __name__ == "__main__":
    main()

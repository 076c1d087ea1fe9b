"""GTP against greedy matching, one atom at a time: what is left, and how long it took, in Markdown.

    python -m benchmarks.greedy [store]

On every task of the store (the demo), and on a coherent pool of 30,000 x 1,024 made here. All run
in one process on the same atoms in memory:

- omp: orthogonal matching pursuit (Pati et al. 1993) as it is registered in gtp_core.methods, with
  the same exact non-negative ridge weights as GTP, refitted after every atom;
- gtp: GTP as registered;
- plain: CoSaMP (Needell, Tropp 2009) with those weights, which stops at the first round that fails;
- sklearn: scikit-learn's orthogonal_mp, at ridge 0 alone, the only one it has. Its weights may be
  negative, so it solves an easier problem and its numbers are a yardstick, not a rival.

Every number is the objective |target - w A|^2 + ridge |w|^2 as a share of its value at zero
weights; at ridge 0 that is the squared residual. All but sklearn minimise the same objective, by
different heuristics, so their answers differ. Seconds are the fastest of up to three runs; a call
of more than 0.1 is made once. Before a row is printed, each weight vector is checked against
the residual that was reported with it. Ratios: gtp / omp, and gtp / plain, of the objective (below
1, GTP leaves less); omp / gtp of the seconds.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from sklearn.linear_model import orthogonal_mp

from gtp_core.atoms import Problem, pose, pose_array
from gtp_core.catalog import open_catalog
from gtp_core.estimate import non_negative_ridge, on_one_thread
from gtp_core.methods import Settings, select

DEMO = Path(__file__).resolve().parent.parent / "data" / "demo"
DEMO_BUDGETS = (20, 100, 200)
POOL_BUDGETS = (30, 100, 300)
RIDGES = (0.0, 0.1, 1.0)
ENOUGH = 0.1  # seconds; a call that takes longer is made once
TOPICS, RANK, DECAY = 40, 128, 0.7
EXAMPLES = 64
HEAD = (
    "| pool | ridge | budget | omp | gtp | plain | sklearn | gtp / omp | gtp / plain "
    "| omp, s | gtp, s | sklearn, s | omp / gtp, s |"
)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Found:
    """An answer: support (k,), weights (k,), and the relative residual reported with them."""

    support: np.ndarray
    weights: np.ndarray
    residual: float


def coherent_pool(
    n_samples: int = 30_000, dim: int = 1024, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Unit atoms (n_samples, dim) float32 that resemble each other, and a noisy target (dim,).

    Each atom is a point of a 128-dimensional space, where coordinate k has standard deviation
    k**-0.7 and 40 topics are centres, with 49 % of white noise by energy; 5 % are near copies of
    another. The target is the mean of 64 noisy examples about a mix of four topics. The direction
    that all atoms share is removed from both.
    """
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape, dtype=np.float32)

    basis = _unit(normal(RANK, dim))
    spread = np.arange(1, RANK + 1, dtype=np.float32) ** -DECAY
    topics = normal(TOPICS, RANK) * spread
    about = topics[generator.integers(0, TOPICS, n_samples)]
    atoms = _unit((about + 0.7 * normal(n_samples, RANK) * spread) @ basis)
    white = np.float32(1 / np.sqrt(dim))
    atoms = np.float32(np.sqrt(0.51)) * atoms + 0.7 * white * normal(n_samples, dim)
    copies = generator.choice(n_samples, n_samples // 20, replace=False)
    originals = atoms[generator.integers(0, n_samples, len(copies))]
    atoms[copies] = originals + 0.15 * white * normal(len(copies), dim)
    atoms = _unit(atoms)

    mix = np.zeros(TOPICS, np.float32)
    mix[generator.choice(TOPICS, 4, replace=False)] = 0.3 + generator.random(4)
    examples = _unit((mix @ topics + 1.2 * normal(EXAMPLES, RANK) * spread) @ basis)
    target = (0.6 * examples + 0.8 * white * normal(EXAMPLES, dim)).mean(axis=0)

    shared = _unit(atoms.mean(axis=0, keepdims=True))[0]
    atoms -= np.outer(atoms @ shared, shared)
    target -= (target @ shared) * shared
    return atoms, target.astype(np.float64)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def registered(problem: Problem, name: str, budget: int, ridge: float) -> Found:
    """The answer of a method of the register."""
    chosen = select(problem, budget, method=name, settings=Settings(ridge=ridge))
    return Found(chosen.support, chosen.weights, chosen.residual_weighted)


@on_one_thread
def plain(matrix: np.ndarray, target: np.ndarray, budget: int, ridge: float) -> Found:
    """CoSaMP with exact non-negative ridge weights that stops at the first round that fails.

    Identify 2 * budget atoms, merge, estimate, prune to the budget, estimate again.
    """
    support, weights, residual = np.empty(0, np.int64), np.empty(0), target
    best = float(target @ target)
    while True:
        proxies = matrix @ residual
        proxies[support] = -np.inf
        entering = np.argsort(-proxies, kind="stable")[: 2 * budget]
        merged = np.concatenate([support, entering[proxies[entering] > 0]])
        guess = _refitted(matrix[merged], target, ridge)
        kept = np.argsort(-guess, kind="stable")[:budget]
        rows = matrix[merged[kept]]
        fitted = _refitted(rows, target, ridge)
        left = target - fitted @ rows
        value = float(left @ left + ridge * fitted @ fitted)
        if value >= best * (1 - 1e-12):
            reported = float(np.linalg.norm(residual) / np.linalg.norm(target))
            return Found(support, weights, reported)
        support, weights, residual, best = merged[kept], fitted, left, value


def _refitted(rows: np.ndarray, target: np.ndarray, ridge: float) -> np.ndarray:
    return non_negative_ridge(rows @ rows.T, rows @ target, ridge)


def unconstrained(matrix: np.ndarray, target: np.ndarray, budget: int) -> Found | None:
    """scikit-learn's answer; None if it stops early over atoms that depend on each other."""
    every = sklearn_weights(matrix, target, budget)
    if every is None:
        return None
    support = np.flatnonzero(every)
    # It reports no residual: that of the least squares fit, which it claims to be, stands in.
    fit = np.linalg.lstsq(matrix[support].T, target, rcond=None)[0]
    left = np.linalg.norm(target - fit @ matrix[support]) / np.linalg.norm(target)
    return Found(support, every[support], float(left))


def sklearn_weights(matrix: np.ndarray, target: np.ndarray, budget: int) -> np.ndarray | None:
    """Weights (n_samples,) of scikit-learn's `orthogonal_mp`; None if it stops early."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return orthogonal_mp(matrix.T, target, n_nonzero_coefs=budget, precompute=False)
        except RuntimeWarning:
            return None


def objective(matrix: np.ndarray, target: np.ndarray, found: Found, ridge: float) -> float:
    """|target - w A|^2 + ridge |w|^2 as a share of |target|^2."""
    residual = target - found.weights @ matrix[found.support]
    penalty = ridge * float(found.weights @ found.weights)
    return (float(residual @ residual) + penalty) / float(target @ target)


def check(matrix: np.ndarray, target: np.ndarray, found: Found, budget: int, name: str) -> None:
    """Assert that the answer is within the budget and leaves the residual it reports."""
    assert len(np.unique(found.support)) == len(found.support) <= budget, name
    assert name == "sklearn" or found.weights.min(initial=0) >= 0, name
    left = np.sqrt(objective(matrix, target, found, 0.0))
    assert abs(left - found.residual) <= 1e-6, f"{name}: {left} left, {found.residual} reported"


def timed(work: Callable[[], Answer]) -> tuple[Answer, float]:
    """The answer, and the fastest of up to three runs, of `ENOUGH` seconds together."""
    fastest, spent, runs = float("inf"), 0.0, 0
    while True:
        start = time.perf_counter()
        answer = work()
        taken = time.perf_counter() - start
        fastest, spent, runs = min(fastest, taken), spent + taken, runs + 1
        if runs == 3 or spent > ENOUGH:
            return answer, fastest


def rows_of(name: str, problem: Problem, budgets: tuple[int, ...]) -> Iterator[tuple[float, float]]:
    """Print a row for each ridge and budget; yields gtp / omp and gtp / plain."""
    target = problem.target
    matrix = problem.atoms.rows(np.arange(problem.atoms.n_samples)).astype(np.float64)
    for method in ("omp", "gtp"):
        registered(problem, method, 5, 0.0)  # compiles the inner loops
    for ridge in RIDGES:
        for budget in budgets:
            omp, omp_time = timed(partial(registered, problem, "omp", budget, ridge))
            gtp, gtp_time = timed(partial(registered, problem, "gtp", budget, ridge))
            answers: dict[str, Found | None] = {
                "omp": omp,
                "gtp": gtp,
                "plain": plain(matrix, target, budget, ridge),
            }
            free_time = ""
            if ridge == 0:
                free, seconds = timed(partial(unconstrained, matrix, target, budget))
                answers["sklearn"], free_time = free, f"{seconds:.2f}" if free else ""
            left = {}
            for who, found in answers.items():
                if found is not None:
                    check(matrix, target, found, budget, who)
                    left[who] = objective(matrix, target, found, ridge)
            free_left = f"{left['sklearn']:.4f}" if "sklearn" in left else ""
            ratios = left["gtp"] / left["omp"], left["gtp"] / left["plain"]
            print(
                f"| {name} | {ridge:g} | {budget} | {left['omp']:.4f} | {left['gtp']:.4f} "
                f"| {left['plain']:.4f} | {free_left} | {ratios[0]:.3f} | {ratios[1]:.3f} "
                f"| {omp_time:.2f} | {gtp_time:.2f} | {free_time} | {omp_time / gtp_time:.1f}x |",
                flush=True,
            )
            yield ratios


def main() -> None:
    """Print the table, and how often GTP ends at or below the others."""
    parser = argparse.ArgumentParser(description="GTP against greedy matching.")
    parser.add_argument("store", nargs="?", default=str(DEMO), help="by default the demo")
    store = parser.parse_args().store
    print(HEAD)
    print("|---" * HEAD.count(" | ") + "|---|")
    everything = []
    with tempfile.TemporaryDirectory() as folder:
        catalog = open_catalog(store, workspace=folder)
        for task in catalog.store.task_names:
            everything += rows_of(task, pose(catalog, task, n_splits=0), DEMO_BUDGETS)
        catalog.close()
    everything += rows_of("30,000 x 1,024", pose_array(*coherent_pool()), POOL_BUDGETS)
    print()
    for place, other in enumerate(("omp", "plain")):
        ratios = np.array([pair[place] for pair in everything])
        print(
            f"gtp / {other}: at or below in {(ratios <= 1).sum()} of {len(ratios)} rows, median "
            f"{np.median(ratios):.3f}, {ratios.min():.3f} to {ratios.max():.3f}."
        )


if __name__ == "__main__":
    main()

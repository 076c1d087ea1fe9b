"""Subsets that are trained on without weights: how near their plain sum comes to the target.

    python -m benchmarks.uniform [store]

Prints a Markdown table for every task of a store (the demo), at budgets of 10 samples to 10 % of
the pool, default settings, for four ways to choose:

- top-k, as registered;
- gtp, its weights dropped: chosen with weights, then added up without;
- gtp uniform: gtp with weights="uniform", which exchanges samples until the plain sum fits;
- random: the mean of two draws.

As-trained residual: min over c >= 0 of |target - c * sum of the chosen atoms| / |target|. Held-out
match: cosine of that sum, chosen for one half of the validation examples, with the target of the
other half; the mean over four halvings, both ways each. The ceiling is the cosine of the halves'
targets. Asserted at every budget: gtp uniform has an as-trained residual no larger than top-k's and
than that of gtp with its weights dropped, and every answer leaves the residual that it reports.
Ratios are of as-trained residuals; below 1, gtp uniform leaves less.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from gtp_core import Problem, Selection, Settings, open_catalog, pose, select
from gtp_core.report import cosine, held_out

DEMO = Path(__file__).resolve().parent.parent / "data" / "demo"
BUDGETS = (10, 20, 40, 100, 200)  # and a tenth of the pool
SPLITS = 4
PLAIN, UNIFORM = Settings(), Settings(weights="uniform")
DRAWS = (0, 1)
HEAD = (
    "| task | budget | top-k | gtp, weights dropped | gtp uniform | random | uniform / top-k "
    "| uniform / dropped | match: top-k | dropped | uniform | random | ceiling |"
)


def total(problem: Problem, selection: Selection) -> np.ndarray:
    """The plain sum of the chosen atoms, (dim,) float64."""
    return problem.atoms.rows(selection.support).astype(np.float64).sum(axis=0)


def as_trained(problem: Problem, selection: Selection) -> float:
    """The as-trained residual, worked out here and asserted to be the one reported."""
    chosen = total(problem, selection)
    scale = max(0.0, float(chosen @ problem.target) / float(chosen @ chosen))
    left = np.linalg.norm(problem.target - scale * chosen) / np.linalg.norm(problem.target)
    assert abs(left - selection.residual_as_trained) <= 1e-9, selection.method
    return float(left)


def dropped_match(problem: Problem, budget: int) -> float:
    """The held-out match of gtp's samples added up without their weights."""
    matches = []
    for part, rest in problem.parts:
        matches.append(cosine(total(part, select(part, budget, settings=PLAIN)), rest))
    return float(np.mean(matches))


def match(problem: Problem, budget: int, method: str, settings: Settings) -> tuple[float, float]:
    """Held-out match and its ceiling."""
    found = held_out(problem, budget, method=method, settings=settings)
    assert found is not None, "a task of one example has no other part"
    return found.match, found.ceiling


def rows_of(task: str, problem: Problem) -> Iterator[tuple[float, float]]:
    """Print a row for each budget; yields uniform / top-k and uniform / dropped."""
    tenth = problem.atoms.n_samples // 10
    draws = [replace(PLAIN, seed=seed) for seed in DRAWS]
    for budget in [*(b for b in BUDGETS if b < tenth), tenth]:
        top = as_trained(problem, select(problem, budget, method="top-k"))
        dropped = as_trained(problem, select(problem, budget, settings=PLAIN))
        even = as_trained(problem, select(problem, budget, settings=UNIFORM))
        assert even <= min(top, dropped) + 1e-9, f"{task}, {budget}: {even}, {top}, {dropped}"
        chance = [
            as_trained(problem, select(problem, budget, method="random", settings=draw))
            for draw in draws
        ]
        top_match, ceiling = match(problem, budget, "top-k", PLAIN)
        even_match = match(problem, budget, "gtp", UNIFORM)[0]
        chance_match = [match(problem, budget, "random", draw)[0] for draw in draws]
        print(
            f"| {task} | {budget} | {top:.3f} | {dropped:.3f} | {even:.3f} | {np.mean(chance):.3f} "
            f"| {even / top:.2f} | {even / dropped:.2f} | {top_match:.3f} "
            f"| {dropped_match(problem, budget):.3f} | {even_match:.3f} "
            f"| {np.mean(chance_match):.3f} | {ceiling:.3f} |",
            flush=True,
        )
        yield even / top, even / dropped


def main() -> None:
    """Print the table and the ratios' ranges."""
    parser = argparse.ArgumentParser(description="Subsets that are trained on without weights.")
    parser.add_argument("store", nargs="?", default=str(DEMO), help="by default the demo")
    store = parser.parse_args().store
    print(HEAD)
    print("|---" * HEAD.count(" | ") + "|---|")
    ratios: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        catalog = open_catalog(store, workspace=folder)
        for task in catalog.store.task_names:
            ratios += rows_of(task, pose(catalog, task, n_splits=SPLITS))
        catalog.close()
    print()
    for place, other in enumerate(("top-k", "gtp with its weights dropped")):
        column = np.array(ratios)[:, place]
        print(
            f"gtp uniform / {other}: median {np.median(column):.2f}, {column.min():.2f} to "
            f"{column.max():.2f} over {len(column)} rows."
        )


if __name__ == "__main__":
    main()

"""How good a choice each method makes: held-out match relative to its ceiling, at every budget.

    python -m benchmarks.quality [STORE ...] [--budgets 10,20,40] [--methods gtp,top-k] [--splits 3]

Prints a Markdown table for every task of each store (the demo), and how often GTP is behind top-k.
A selection is fitted on one half of the validation examples; its match is the cosine with the
target of the other half, its ceiling the cosine of the two halves' own targets, both averaged over
the halvings, either way round. Shown is match / ceiling; 1 is as near to the task as half of its
examples are. Ways to choose besides the registered methods (`gtp-hierarchical` is `gtp` in pools of
up to 20,000 samples and left out there):

- gtp auto: the ridge chosen within the half it is fitted on, by halving that half twice more, so
  that the other half has no say in it;
- gtp each: `subtasks=each`;
- gtp uniform: `weights=uniform`.

Random is the mean of two draws. Budgets above half of the pool are left out.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from gtp_core import Catalog, Problem, Settings, open_catalog, pose, select
from gtp_core.atoms.aims import half, join_halves, piece, task_goal
from gtp_core.errors import BudgetError
from gtp_core.methods import METHODS
from gtp_core.report import cosine, tuned
from gtp_core.report.quality import combination
from gtp_core.trajectories import open_task

DEMO = Path(__file__).resolve().parent.parent / "data" / "demo"
BUDGETS = (10, 20, 40, 100, 200, 400)
SPLITS = 3
INNER = 2  # halvings of a half
ONE_PART = 20_000
DRAWS = (0, 1)
OF_GTP = {"gtp each": Settings(subtasks="each"), "gtp uniform": Settings(weights="uniform")}
AUTO = "gtp auto"


def match(part: Problem, rest: np.ndarray, budget: int, way: str) -> float:
    """Cosine of the chosen combination with the target of the other half."""
    if way == "random":
        draws = [select(part, budget, method=way, settings=Settings(seed=s)) for s in DRAWS]
    elif way == AUTO:
        chosen = tuned(part, budget, method="gtp", settings=Settings()).settings
        draws = [select(part, budget, settings=chosen)]
    elif way in OF_GTP:
        draws = [select(part, budget, settings=OF_GTP[way])]
    else:
        draws = [select(part, budget, method=way)]
    return float(np.mean([cosine(combination(part, one), rest) for one in draws]))


def parts_of(catalog: Catalog, task: str, n_splits: int) -> list[tuple[Problem, np.ndarray]]:
    """The halves of a task, each a problem with halves of its own, and the other's target."""
    problem = pose(catalog, task, n_splits=n_splits)
    examples = open_task(catalog.store, task)
    direction = catalog.common_direction()
    masks = [half(examples.subtask, np.random.default_rng([0, n])) for n in range(n_splits)]
    found = []
    sides = [side for mask in masks for side in (mask, ~mask)]
    for (part, rest), side in zip(problem.parts, sides, strict=True):
        goal = task_goal(task, piece(examples, side), {}, INNER, 0)
        assert np.allclose(goal.whole.target(direction), part.target, atol=1e-12), task
        inner = join_halves([goal], {task: 1.0}, direction)
        found.append((replace(part, splits=inner), rest))
    return found


def rows_of(
    catalog: Catalog, task: str, budgets: list[int], ways: list[str], n_splits: int
) -> Iterator[tuple[str, dict[str, float]]]:
    """Print a row for each budget; yields its name and the share of the ceiling by way."""
    parts = parts_of(catalog, task, n_splits)
    ceiling = float(np.mean([cosine(part.target, rest) for part, rest in parts]))
    for budget in (b for b in budgets if b <= catalog.store.n_samples // 2):
        shares: dict[str, float] = {}
        for way in ways:
            try:
                found = [match(part, rest, budget, way) for part, rest in parts]
            except BudgetError:  # more than this method takes at once
                continue
            shares[way] = float(np.mean(found)) / ceiling
        best = max(shares.values())
        cells = [f"{shares[w]:.3f}" if w in shares else "" for w in ways]
        cells = [f"**{c}**" if c and float(c) >= round(best, 3) else c for c in cells]
        name = catalog.store.manifest.name
        print(f"| {name} | {task} | {budget} | {ceiling:.3f} | {' | '.join(cells)} |", flush=True)
        yield f"{name} {task} {budget}", shares


def ways_to_choose(told: str | None, n_samples: int) -> list[str]:
    """What is compared: everything, or what was told."""
    if told:
        return told.split(",")
    found = [m for m in METHODS if m != "gtp-hierarchical" or n_samples > ONE_PART]
    return ["gtp", AUTO, *OF_GTP, *(m for m in found if m != "gtp")]


def report(rows: list[tuple[str, dict[str, float]]]) -> None:
    """How often each way of GTP is behind top-k, and by how much at worst."""
    for way in ("gtp", AUTO, *OF_GTP):
        pairs = [(n, s[way], s["top-k"]) for n, s in rows if {way, "top-k"} <= s.keys()]
        if not pairs:
            continue
        behind = [f"{name} ({mine:.3f}, {top:.3f})" for name, mine, top in pairs if mine < top]
        print(f"\n{way} is ahead of top-k in {len(pairs) - len(behind)} of {len(pairs)} rows.")
        if behind:
            print(f"Behind: {', '.join(behind)}.")
        gains = [s[way] - s["gtp"] for _, s in rows if {way, "gtp"} <= s.keys()]
        if way != "gtp" and gains:
            print(
                f"Against gtp: {np.mean(gains):+.3f} of the ceiling in the mean, "
                f"{min(gains):+.3f} to {max(gains):+.3f}."
            )


def main() -> None:
    """Print the table and what it says of GTP."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="*", default=[str(DEMO)], metavar="STORE")
    parser.add_argument("--budgets", default=",".join(map(str, BUDGETS)))
    parser.add_argument("--methods", help="ways to choose, with commas (default: all)")
    parser.add_argument("--tasks", help="with commas (default: all)")
    parser.add_argument("--splits", type=int, default=SPLITS)
    options = parser.parse_args()
    rows: list[tuple[str, dict[str, float]]] = []
    for store in options.stores:
        with tempfile.TemporaryDirectory() as folder:
            catalog = open_catalog(store, workspace=folder)
            ways = ways_to_choose(options.methods, catalog.store.n_samples)
            print(f"\n| store | task | budget | ceiling | {' | '.join(ways)} |")
            print("|---" * (4 + len(ways)) + "|")
            tasks = options.tasks.split(",") if options.tasks else catalog.store.task_names
            budgets = [int(b) for b in options.budgets.split(",")]
            for task in tasks:
                rows += rows_of(catalog, task, budgets, ways, options.splits)
            catalog.close()
    report(rows)


if __name__ == "__main__":
    main()

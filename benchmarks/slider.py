"""Any budget from a prepared path: how long an answer takes, and how far an estimate is off.

    python -m gtp_core path STORE --task T      # once
    python -m benchmarks.slider STORE --task T [--workspace FOLDER] [--budgets 200] [--solved 6]

First two prepared budgets are solved anew, cold, and asserted to be the prepared bytes. Column
`prepared` is the time of reading a selection at a prepared budget, `between` of an estimate at one
drawn log-uniformly between the first and the last; both the median and the 95th percentile, with
the path in memory as the app has it. Then `--solved` of the drawn budgets are solved: residual and
match of estimate and answer, the share of samples in common, and how long solving took.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
import polars as pl

from gtp_core import GTPError, Problem, open_catalog, pose
from gtp_core.methods import Settings
from gtp_core.pursuit import Selection
from gtp_core.report import between, choose, from_path, saved_path
from gtp_core.report.quality import HeldOut

Found = tuple[Selection, HeldOut | None]


def prepared_budgets(path: pl.DataFrame) -> list[int]:
    """The budgets of a path, ascending."""
    return path["budget"].unique().sort().to_list()


def assert_prepared(path: pl.DataFrame, problem: Problem, budgets: Sequence[int]) -> None:
    """A prepared budget is the selection that solving gives, byte for byte."""
    for budget in budgets:
        kept = _there(from_path(path, problem, str(budget), "gtp", Settings()))
        solved = choose(problem, budget, method="gtp", settings=Settings())
        assert kept[0].support.tobytes() == solved[0].support.tobytes(), budget
        assert kept[0].weights.tobytes() == solved[0].weights.tobytes(), budget
        assert kept[1] == solved[1], budget


def drawn(path: pl.DataFrame, count: int) -> list[int]:
    """Budgets between the first and the last, log-uniform, none of them prepared."""
    known = prepared_budgets(path)
    generator = np.random.default_rng(0)
    logs = generator.uniform(np.log(known[0]), np.log(known[-1]), 20 * count)
    free = [b for b in np.exp(logs).round().astype(int).tolist() if b not in set(known)]
    return free[:count]


def seconds_of(answer: Callable[[int], object], budgets: Sequence[int]) -> np.ndarray:
    """Wall time of an answer at each budget; the first is left out, for it imports."""
    taken = []
    for budget in budgets:
        start = time.perf_counter()
        answer(budget)
        taken.append(time.perf_counter() - start)
    return np.array(taken[1:])


def main() -> None:
    """Measure on a store whose path is prepared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("--task", required=True)
    parser.add_argument("--workspace")
    parser.add_argument("--budgets", type=int, default=200)
    parser.add_argument("--solved", type=int, default=6)
    options = parser.parse_args()
    with closing(open_catalog(options.store, workspace=options.workspace)) as catalog:
        problem = pose(catalog, options.task)
        path = saved_path(catalog, problem, Settings())
        if path is None:
            raise GTPError("no prepared path; run `python -m gtp_core path` on this task first.")
        known = prepared_budgets(path)
        assert_prepared(path, problem, [known[len(known) // 3], known[len(known) // 2]])
        print(f"{problem.atoms.n_samples:,} samples, {len(known)} budgets to {known[-1]:,}")
        _times(path, problem, drawn(path, options.budgets))
        _errors(path, problem, drawn(path, options.solved))


def _times(path: pl.DataFrame, problem: Problem, budgets: Sequence[int]) -> None:
    known = (prepared_budgets(path) * (1 + len(budgets) // 20))[: len(budgets)]
    for name, ask, where in (("prepared", from_path, known), ("between", between, budgets)):
        taken = seconds_of(lambda b, ask=ask: ask(path, problem, str(b), "gtp", Settings()), where)
        middle, late = np.percentile(1e3 * taken, [50, 95])
        print(f"{name:9} {middle:7.1f} ms in the median, {late:7.1f} ms at the 95th percentile")


def _errors(path: pl.DataFrame, problem: Problem, budgets: Sequence[int]) -> None:
    print("  budget  in common  residual: estimate / solved  match: estimate / solved  solving, s")
    for budget in sorted(budgets):
        guess, told = _there(between(path, problem, str(budget), "gtp", Settings()))
        start = time.perf_counter()
        solved, held = choose(problem, budget, method="gtp", settings=Settings())
        seconds = time.perf_counter() - start
        common = len(np.intersect1d(guess.support, solved.support)) / max(len(solved.support), 1)
        match = " / ".join(f"{h.match:.3f}" if h else "-" for h in (told, held))
        left = f"{guess.residual_weighted:.4f} / {solved.residual_weighted:.4f}"
        print(f"{budget:8,}  {common:9.2f}  {left:>27}  {match:>24}  {seconds:10.1f}")


def _there(found: Found | None) -> Found:
    assert found is not None
    return found


if __name__ == "__main__":
    main()

"""Pursuit in a subspace against pursuit in full dimension: what it costs, keeps and misses.

    python -m benchmarks.subspace [STORE ...] [--rank 64 ...] [--budget 20 ...] [--ridge 1 ...]
    python -m benchmarks.subspace STORE --fit-only [--rank 256]

Two tables for every store (by default the demo). The first is about the fit of one geometry, common
direction removed:

- fit, s: wall seconds of both passes over all checkpoints, the files cached or not as they were
  found, and CPU seconds of all threads; peak: the highest anonymous memory meanwhile, MiB; kept,
  MB: files on disk;
- energy: share of the gradients' squared length kept, least and most of the checkpoints;
- LESS scale: what the same fit would take for 270,679 x 4 x 8,192 on two cores of their own. It is
  not measured but extrapolated: half of the CPU seconds, times the ratio of the multiplications
  (n_samples * width * (rank + 16) * 3 and the sample's), which dominate from a few thousand numbers
  a row on; reading 17.7 GB twice comes on top where they are not in memory.

The second is about what is chosen, per task, ridge and budget; `full` is GTP without a subspace:

- proxies: relative error |p' - p| / |p| over all candidates of the proxies of what `full` leaves of
  the target, where the subspace sees least; found: how many of the truly 3 * budget strongest are
  among its own 3 * budget strongest;
- first / full, end / full: the objective of the samples chosen in the subspace with weights fitted
  in full dimension, and of the answer, which ends in full dimension; both as a multiple of full's;
- same: samples of the answer that are in full's too, as a share of both together; match / full: the
  held-out match, likewise (2 halvings, both ways);
- full, s and end, s: seconds to select, the subspace fitted already.

Asserted for every row: proxies of the target itself are exact to 1e-3 of its length, the answer
leaves the residual it reports, and energy grows with the rank.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.stages import compile_loops, measured
from gtp_core import Catalog, GTPError, Problem, Selection, Settings, open_catalog, pose, select
from gtp_core.atoms import strongest
from gtp_core.methods import prepare_subspace
from gtp_core.methods.subspace import refitted
from gtp_core.pursuit import pursue
from gtp_core.report import held_out

DEMO = Path(__file__).resolve().parent.parent / "data" / "demo"
LESS = (270_679, 4, 8192)
RANKS, BUDGETS, RIDGES = (16, 64, 128, 256), (20, 200), (0.1, 1.0)
_SAMPLE, _MORE, _ITERATIONS = 8192, 16, 3  # of gtp_core.atoms.principal
FIT_HEAD = "| store | rank | fit, s | CPU, s | peak, MiB | kept, MB | energy | LESS scale, s |"
HEAD = (
    "| task | ridge | budget | rank | proxies | found | first / full | end / full | same "
    "| match / full | full, s | end, s |"
)


@dataclass(frozen=True)
class Full:
    """The answer without a subspace: selection, objective, held-out match, seconds."""

    selection: Selection
    objective: float
    match: float
    seconds: float


def work_of(n_samples: int, n_checkpoints: int, width: int, rank: int) -> float:
    """Multiplications of a fit, in both passes and on the sample."""
    rows = 3 * n_samples + 2 * _ITERATIONS * min(_SAMPLE, n_samples)
    return float(n_checkpoints * width * min(rank + _MORE, width) * rows)


def fit_row(catalog: Catalog, problem: Problem, rank: int) -> tuple[str, tuple[float, ...]]:
    """A line of the first table, and the energy kept."""
    settings = Settings(subspace=f"pca:{rank}")
    start = time.process_time()
    energy, cost = measured(lambda: prepare_subspace(problem, settings))
    busy = time.process_time() - start
    assert energy is not None
    assert problem.subspaces is not None
    size = sum(file.stat().st_size for file in problem.subspaces.folder(rank).iterdir())
    shape = (catalog.store.n_samples, len(catalog.store.checkpoints), catalog.store.dim)
    scaled = busy / 2 * work_of(*LESS, rank) / work_of(*shape, rank)
    name = f"{shape[0]:,} x {shape[1]} x {shape[2]:,}"
    cells = f"{cost.seconds:.1f} | {busy:.1f} | {cost.peak / (1 << 20):,.0f} | {size / 1e6:,.1f}"
    told = f"{scaled:,.0f}" if shape[2] >= 2048 else ""
    return f"| {name} | {rank} | {cells} | {min(energy):.3f}-{max(energy):.3f} | {told} |", energy


def full_answer(problem: Problem, budget: int, settings: Settings) -> Full:
    """What GTP chooses in full dimension."""
    chosen, cost = measured(partial(select, problem, budget, settings=settings))
    match = _match(problem, budget, settings)
    return Full(chosen, objective(problem, chosen, settings.ridge), match, cost.seconds)


def objective(problem: Problem, chosen: Selection, ridge: float) -> float:
    """1/2 |target - w A|^2 + ridge/2 |w|^2, the residual asserted to be the one reported."""
    left = residual_of(problem, chosen)
    told = chosen.residual_weighted * np.linalg.norm(problem.target)
    assert abs(np.linalg.norm(left) - told) <= 1e-9 * np.linalg.norm(problem.target)
    return 0.5 * float(left @ left) + 0.5 * ridge * float(chosen.weights @ chosen.weights)


def residual_of(problem: Problem, chosen: Selection) -> np.ndarray:
    """What a selection leaves of the target (dim,)."""
    rows = problem.atoms.rows(chosen.support).astype(np.float64)
    return problem.target - chosen.weights @ rows


def _match(problem: Problem, budget: int, settings: Settings) -> float:
    found = held_out(problem, budget, method="gtp", settings=settings)
    return found.match if found else float("nan")


def proxies(problem: Problem, full: Full, rank: int, count: int) -> tuple[float, float]:
    """Relative error of the proxies of what `full` leaves, and how many of the best are found."""
    assert problem.subspaces is not None
    usable = problem.atoms.candidates
    atoms, target = problem.subspaces.atoms(rank, problem.target, usable)
    near, exact = atoms.products(target[None])[:, 0], problem.atoms.products(problem.target[None])
    assert np.abs(near - exact[:, 0])[usable].max() <= 1e-3 * np.linalg.norm(problem.target)
    chosen = full.selection
    low = target - chosen.weights @ atoms.rows(chosen.support).astype(np.float64)
    there = atoms.products(low[None])[:, 0]
    true = problem.atoms.products(residual_of(problem, chosen)[None])[:, 0]
    error = np.linalg.norm((there - true)[usable]) / np.linalg.norm(true[usable])
    best, found = strongest(true, usable, 3 * count), strongest(there, usable, 3 * count)
    return float(error), len(np.intersect1d(best, found)) / max(len(best), 1)


def first_objective(problem: Problem, budget: int, settings: Settings, rank: int) -> float:
    """The objective of what the subspace alone would choose, weights fitted in full dimension."""
    assert problem.subspaces is not None
    atoms, low = problem.subspaces.atoms(rank, problem.target, problem.atoms.candidates)
    support = pursue(atoms, low, budget, ridge=settings.ridge)[0]
    return refitted(problem, support, settings.ridge).objective


def rows_of(
    problem: Problem, ranks: Sequence[int], budgets: Sequence[int], ridges: Sequence[float]
) -> Iterator[str]:
    """The lines of the second table for one task."""
    for ridge in ridges:
        for budget in budgets:
            full = full_answer(problem, budget, Settings(ridge=ridge))
            for rank in ranks:
                settings = Settings(ridge=ridge, subspace=f"pca:{rank}")
                yield _row(problem, budget, settings, rank, full)


def _row(problem: Problem, budget: int, settings: Settings, rank: int, full: Full) -> str:
    error, found = proxies(problem, full, rank, budget)
    first = first_objective(problem, budget, settings, rank) / full.objective
    chosen, cost = measured(lambda: select(problem, budget, settings=settings))
    end = objective(problem, chosen, settings.ridge) / full.objective
    both = np.union1d(chosen.support, full.selection.support)
    same = len(np.intersect1d(chosen.support, full.selection.support)) / max(len(both), 1)
    match = _match(problem, budget, settings) / full.match
    return (
        f"| {problem.settings['task']} | {settings.ridge:g} | {budget} | {rank} | {error:.3f} "
        f"| {found:.2f} | {first:.3f} | {end:.3f} | {same:.2f} | {match:.3f} "
        f"| {full.seconds:.2f} | {cost.seconds:.2f} |"
    )


def fits(catalog: Catalog, ranks: Sequence[int]) -> Iterator[str]:
    """The first table."""
    yield FIT_HEAD + "\n" + "|---" * FIT_HEAD.count(" | ") + "|---|"
    problem = pose(catalog, catalog.store.task_names[0], n_splits=0)
    before = (0.0,) * len(catalog.store.checkpoints)
    for rank in sorted(ranks):
        line, energy = fit_row(catalog, problem, rank)
        assert all(more >= less for less, more in zip(before, energy, strict=True))
        before = energy
        yield line


def main() -> None:
    """Print the tables of every store."""
    parser = argparse.ArgumentParser(description="Subspaces against full dimension.")
    parser.add_argument("store", nargs="*", default=[str(DEMO)], help="by default the demo")
    parser.add_argument("--rank", type=int, action="append", help="by default 16, 64, 128, 256")
    parser.add_argument("--budget", type=int, action="append", help="by default 20 and 200")
    parser.add_argument("--ridge", type=float, action="append", help="by default 0.1 and 1")
    parser.add_argument("--fit-only", action="store_true", help="the first table alone")
    parser.add_argument("--workspace", help="keep catalogs here (default: thrown away)")
    asked = parser.parse_args()
    try:
        compile_loops()
        for store in asked.store:
            with tempfile.TemporaryDirectory() as folder:
                catalog = open_catalog(store, workspace=asked.workspace or folder)
                _print(catalog, asked)
                catalog.close()
    except GTPError as error:
        sys.exit(str(error))


def _print(catalog: Catalog, asked: argparse.Namespace) -> None:
    ranks = [rank for rank in asked.rank or RANKS if rank <= catalog.store.dim]
    for line in fits(catalog, ranks):
        print(line, flush=True)
    if asked.fit_only:
        return
    print("\n" + HEAD + "\n" + "|---" * HEAD.count(" | ") + "|---|")
    for task in catalog.store.task_names:
        problem = pose(catalog, task, n_splits=2)
        for line in rows_of(problem, ranks, asked.budget or BUDGETS, asked.ridge or RIDGES):
            print(line, flush=True)


if __name__ == "__main__":
    main()

"""Time and memory of every stage of a store's way to a selection, as a Markdown table.

    python -m benchmarks.stages STORE [--task T] [--budget 1%] [--method gtp] [--splits 0]
        [--subspace 256]

The store is loaded into a catalog of its own, which is thrown away, so nothing that an earlier run
has kept makes a stage look cheaper. Loops are compiled before the clock starts, on a store of a
few hundred rows. CPU seconds are of all threads, and what to read when the machine is shared.
Memory is the highest anonymous resident memory of the process while the stage ran (RssAnon, sampled
every 5 ms): what it needs beside the page cache, earlier stages' included.

The last column is the order of multiplications, with n samples of D numbers (all checkpoints), s
subtasks, e validation examples, budget k, and R directions in each of T checkpoints' subspaces. A
pass is n D, and reads each number once. `rounds` are those of a pursuit, tens to hundreds; m <= 4 k
are the atoms it has met, g <= 12,000 the ground set of a method that covers.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.synthetic import Shape, make
from gtp_core import (
    METHODS,
    Catalog,
    GTPError,
    Problem,
    Selection,
    Settings,
    open_catalog,
    open_store,
    pose,
    select,
)
from gtp_core.atoms import pose_array, strongest
from gtp_core.methods import prepare_subspace
from gtp_core.report import HeldOut, Reliability, held_out, reliability

Answer = TypeVar("Answer")
Stage = tuple[str, str, Callable[[], object]]
"""Name, cost, and what is measured."""

COSTS = {
    "gtp": "16 n D at first, n D a pass, m^2 D + rounds k^3; m > 6,000: rounds m D",
    "top-k": "s n D, or n if loaded; k D",
    "random": "n + k D",
    "craig": "s n D + g^2 D + k g",
    "k-center": "s n D + g^2 D + k g",
    "omp": "k n D + k^2 D + k^4",
    "grad-match": "k n D + k^2 D + k^4",
    "gtp-hierarchical": "as gtp in every part of 20,000, and once among the winners",
}
"""Multiplications of every method, as an order."""
HEAD = "| stage | seconds | CPU, s | peak memory, MiB | found | multiplications |"
_SAMPLE_SECONDS = 0.005
_MIB = 1 << 20


@dataclass(frozen=True)
class Cost:
    """Wall seconds, the peak of anonymous resident memory in bytes, CPU seconds of all threads."""

    seconds: float
    peak: int
    busy: float = 0.0


def measured(work: Callable[[], Answer]) -> tuple[Answer, Cost]:
    """Call `work`; its answer and what it cost."""
    highest, done = [anonymous_memory()], threading.Event()

    def watch() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            highest[0] = max(highest[0], anonymous_memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start, busy = time.perf_counter(), time.process_time()
    try:
        answer = work()
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        highest[0] = max(highest[0], anonymous_memory())
    finally:
        done.set()
        watcher.join()
    return answer, Cost(seconds, highest[0], busy)


def anonymous_memory() -> int:
    """Resident bytes of this process that no file backs (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no RssAnon; this benchmark needs Linux 4.5 or newer.")


def compile_loops() -> None:
    """Go once through everything on a small store, so that no stage waits for a compiler."""
    with tempfile.TemporaryDirectory() as folder:
        store = make(Path(folder) / "store", Shape(600, 2, 16))
        catalog = open_catalog(store)
        problem = pose(catalog, store.task_names[0])
        problem.atoms.products(problem.target[None])
        select(problem, 20, settings=Settings(subspace="pca:8"))
        for method in METHODS:
            select(problem, 20, method=method)
        _one_round(problem, 20)
        catalog.close()


def stages(problem: Problem, budget: str, methods: list[str], rank: int = 0) -> Iterator[Stage]:
    """What is measured of a posed problem; without a rank, no subspace."""
    count = len(select(problem, budget, method="random").support)
    many = 3 * count
    yield "one pass: products with the target", "n D", _passing(problem)
    yield f"gather {many:,} atoms", "k D", lambda: problem.atoms.rows(_best(problem, many))
    yield f"one round in memory, {many:,} atoms", "k^2 D + k^3", lambda: _one_round(problem, count)
    for method in methods:
        name = f"select {method}, {count:,} samples"
        yield name, COSTS[method], _selecting(problem, budget, method)
    if rank:
        inside = Settings(subspace=f"pca:{rank}")
        cost = "3 n D R and 2 readings"
        yield f"fit the subspace of {rank}", cost, lambda: prepare_subspace(problem, inside)
        cost = "as gtp with T R for D, then n D + k^2 D"
        yield (
            f"select gtp there, {count:,} samples",
            cost,
            _selecting(problem, budget, "gtp", inside),
        )
    if problem.splits:
        name = f"held-out match of {methods[0]}, {len(problem.splits)} fits"
        yield name, "that often what it is of", _holding_out(problem, budget, methods[0])
        yield "reliability", "e D", lambda: reliability(problem, problem.n_examples)


def _passing(problem: Problem) -> Callable[[], object]:
    return lambda: problem.atoms.products(problem.target[None])


def _selecting(
    problem: Problem, budget: str, method: str, settings: Settings | None = None
) -> Callable[[], object]:
    return lambda: select(problem, budget, method=method, settings=settings)


def _holding_out(problem: Problem, budget: str, method: str) -> Callable[[], object]:
    return lambda: held_out(problem, budget, method=method, settings=Settings())


def _best(problem: Problem, count: int) -> np.ndarray:
    """The candidates of the largest known influence: which ones does not matter to the clock."""
    return strongest(problem.influence, problem.atoms.candidates, count, positive=False)


def _one_round(problem: Problem, count: int) -> object:
    """A round without its pass: the strongest atoms alone are the pool."""
    rows = problem.atoms.rows(_best(problem, 3 * count))
    return select(pose_array(rows, problem.target), count, settings=Settings(max_rounds=1))


def row(name: str, order: str, work: Callable[[], Answer]) -> tuple[str, Answer | None]:
    """A line of the table, and the answer of the stage."""
    try:
        answer, cost = measured(work)
    except GTPError as error:
        return f"| {name} | - | - | - | {error} | {order} |", None
    found, times = _words(answer), f"{cost.seconds:.3f} | {cost.busy:.3f}"
    return f"| {name} | {times} | {cost.peak / _MIB:,.0f} | {found} | {order} |", answer


def _words(answer: object) -> str:
    """What a stage found, in a few words."""
    if isinstance(answer, Selection):
        found = f"residual {answer.residual_weighted:.4f}"
        return f"{found}, rounds: {len(answer.rounds)}, {answer.stop.name}"
    if isinstance(answer, HeldOut):
        return f"{answer.match:.3f} of {answer.ceiling:.3f}"
    if isinstance(answer, tuple):  # energy kept at every checkpoint
        return f"energy {min(answer):.2f} to {max(answer):.2f}"
    return f"{answer.full:.2f}" if isinstance(answer, Reliability) else ""


def table(
    folder: Path, budget: str, task: str | None, methods: list[str], n_splits: int, rank: int = 0
) -> Iterator[str]:
    """The lines of the table, each as soon as it is known."""
    store = open_store(folder)
    yield (
        f"{store.n_samples:,} samples x {len(store.checkpoints)} checkpoints x {store.dim:,} "
        f"({store.store_id}), budget {budget}\n"
    )
    yield HEAD + "\n" + "|---" * HEAD.count(" | ") + "|---|"
    yield row("open the store", "1 a part", lambda: open_store(folder))[0]
    with tempfile.TemporaryDirectory() as workspace:
        line, catalog = row(
            "load the catalog",
            "(s + 1) n D for all tasks",
            lambda: open_catalog(store, workspace=workspace),
        )
        yield line
        if isinstance(catalog, Catalog):
            name = task or store.task_names[0]
            line, problem = row(
                f"pose {name}", "e D", lambda: pose(catalog, name, n_splits=n_splits)
            )
            yield line
            if problem is not None:
                for stage in stages(problem, budget, methods, rank):
                    yield row(*stage)[0]
            catalog.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure every stage on a store.")
    parser.add_argument("store", type=Path)
    parser.add_argument("--task", help="by default the store's first")
    parser.add_argument("--budget", default="1%")
    parser.add_argument("--method", action="append", choices=list(METHODS), help="by default all")
    parser.add_argument("--splits", type=int, default=5, help="0 leaves the held-out match out")
    parser.add_argument("--subspace", type=int, default=0, help="of this rank; 0 for none")
    asked = parser.parse_args()
    try:
        compile_loops()
        methods = asked.method or list(METHODS)
        found = table(asked.store, asked.budget, asked.task, methods, asked.splits, asked.subspace)
        for line in found:
            print(line, flush=True)
    except GTPError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""Time and memory of every stage of a store's way to a selection, as a Markdown table.

    python -m benchmarks.stages STORE [--task T] [--budget 1%] [--method gtp] [--splits 0]

The store is loaded into a catalog of its own, which is thrown away, so nothing that an earlier run
has kept makes a stage look cheaper. Loops are compiled before the clock starts, on a store of a
few hundred rows. Memory is the highest anonymous resident memory of the process while the stage
ran (RssAnon, sampled every 5 ms): what it needs beside the page cache, earlier stages' included.
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
from gtp_core.report import HeldOut, Reliability, held_out, reliability

Answer = TypeVar("Answer")
Stage = tuple[str, Callable[[], object]]
_SAMPLE_SECONDS = 0.005
_MIB = 1 << 20


@dataclass(frozen=True)
class Cost:
    """Wall seconds, and the peak of anonymous resident memory in bytes."""

    seconds: float
    peak: int


def measured(work: Callable[[], Answer]) -> tuple[Answer, Cost]:
    """Call `work`; its answer and what it cost."""
    highest, done = [anonymous_memory()], threading.Event()

    def watch() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            highest[0] = max(highest[0], anonymous_memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start = time.perf_counter()
    try:
        answer = work()
        seconds = time.perf_counter() - start
        highest[0] = max(highest[0], anonymous_memory())
    finally:
        done.set()
        watcher.join()
    return answer, Cost(seconds, highest[0])


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
        for method in METHODS:
            select(problem, 20, method=method)
        _one_round(problem, 20)
        catalog.close()


def stages(problem: Problem, budget: str, methods: list[str]) -> Iterator[Stage]:
    """What is measured of a posed problem, by name."""
    count = len(select(problem, budget, method="random").support)
    yield "one pass: products with the target", lambda: problem.atoms.products(problem.target[None])
    yield f"gather {3 * count:,} atoms", lambda: problem.atoms.rows(_best(problem, 3 * count))
    yield f"one round in memory, {3 * count:,} atoms", lambda: _one_round(problem, count)
    for method in methods:
        yield f"select {method}, {count:,} samples", _selecting(problem, budget, method)
    if problem.splits:
        name = f"held-out match of {methods[0]}, {len(problem.splits)} fits"
        yield name, _holding_out(problem, budget, methods[0])
        yield "reliability", lambda: reliability(problem, problem.n_examples)


def _selecting(problem: Problem, budget: str, method: str) -> Callable[[], object]:
    return lambda: select(problem, budget, method=method)


def _holding_out(problem: Problem, budget: str, method: str) -> Callable[[], object]:
    return lambda: held_out(problem, budget, method=method, settings=Settings())


def _best(problem: Problem, count: int) -> np.ndarray:
    """The candidates of the largest known influence: which ones does not matter to the clock."""
    return strongest(problem.influence, problem.atoms.candidates, count, positive=False)


def _one_round(problem: Problem, count: int) -> object:
    """A round without its pass: the strongest atoms alone are the pool."""
    rows = problem.atoms.rows(_best(problem, 3 * count))
    return select(pose_array(rows, problem.target), count, settings=Settings(max_rounds=1))


def row(name: str, work: Callable[[], Answer]) -> tuple[str, Answer | None]:
    """A line of the table, and the answer of the stage."""
    try:
        answer, cost = measured(work)
    except GTPError as error:
        return f"| {name} | - | - | {error} |", None
    found = _words(answer)
    return f"| {name} | {cost.seconds:.3f} | {cost.peak / _MIB:,.0f} | {found} |", answer


def _words(answer: object) -> str:
    """What a stage found, in a few words."""
    if isinstance(answer, Selection):
        found = f"residual {answer.residual_weighted:.4f}"
        return f"{found}, rounds: {len(answer.rounds)}, {answer.stop.name}"
    if isinstance(answer, HeldOut):
        return f"{answer.match:.3f} of {answer.ceiling:.3f}"
    return f"{answer.full:.2f}" if isinstance(answer, Reliability) else ""


def table(
    folder: Path, budget: str, task: str | None, methods: list[str], n_splits: int
) -> Iterator[str]:
    """The lines of the table, each as soon as it is known."""
    store = open_store(folder)
    yield (
        f"{store.n_samples:,} samples x {len(store.checkpoints)} checkpoints x {store.dim:,} "
        f"({store.store_id}), budget {budget}\n"
    )
    yield "| stage | seconds | peak memory, MiB | found |\n|---|---|---|---|"
    yield row("open the store", lambda: open_store(folder))[0]
    with tempfile.TemporaryDirectory() as workspace:
        line, catalog = row("load the catalog", lambda: open_catalog(store, workspace=workspace))
        yield line
        if isinstance(catalog, Catalog):
            name = task or store.task_names[0]
            line, problem = row(f"pose {name}", lambda: pose(catalog, name, n_splits=n_splits))
            yield line
            if problem is not None:
                for stage, work in stages(problem, budget, methods):
                    yield row(stage, work)[0]
            catalog.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure every stage on a store.")
    parser.add_argument("store", type=Path)
    parser.add_argument("--task", help="by default the store's first")
    parser.add_argument("--budget", default="1%")
    parser.add_argument("--method", action="append", choices=list(METHODS), help="by default all")
    parser.add_argument("--splits", type=int, default=5, help="0 leaves the held-out match out")
    asked = parser.parse_args()
    try:
        compile_loops()
        methods = asked.method or list(METHODS)
        for line in table(asked.store, asked.budget, asked.task, methods, asked.splits):
            print(line, flush=True)
    except GTPError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""GTP on a large store against one sequential read of it, in one run.

    python -m benchmarks.synthetic STORE          # 17.7 GB: LESS's scale
    python -m benchmarks.full_scale STORE [--budget 1% --budget 5%] [--task T]
    python -m benchmarks.full_scale STORE --linear

Column `read` reads all gradient files once, in as many threads as the machine has cores for this
process, through `preadv` or a memory map, whichever was faster. Column `select` is the wall time of
`select(problem, budget, method="gtp")` from the same state of the page cache: cold, every page of
these files given back to the kernel (POSIX_FADV_DONTNEED), or warm, all of them read just before.
`cached` is the share of pages that really were in memory when each clock started (mincore), read
/ select. Memory is the peak of RssAnon while selecting. Before any clock is read, products of some
rows are asserted equal to NumPy's in float64.

`--linear` repeats the warm columns on synthetic stores of 1/8, 1/4 and 1/2 of the samples, which it
makes beside the store, and fits time = c * samples**exponent. A budget in percent grows with the
store; one in samples (the default there: 1 % of the smallest) does not.
"""

import argparse
import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.stages import Cost, compile_loops, measured
from benchmarks.synthetic import Shape, make
from gtp_core import (
    Catalog,
    GTPError,
    Problem,
    Selection,
    Store,
    open_catalog,
    open_store,
    pose,
    select,
)
from gtp_core.errors import StoreError

SHARES = (8, 4, 2, 1)  # of which the samples are a part, for `--linear`
Slice = tuple[Path, int, int]  # a file, and the bytes of it from here to there
_BUFFER = 8 << 20
_GIB = 1 << 30
_HEAD = "cache  budget   samples    read s  how      select s   ratio  rounds  peak GiB  residual"
_HEAD += "  cached, stop"


@dataclass(frozen=True)
class Reading:
    """The faster of the ways to read the files once."""

    seconds: float
    way: str
    cached: float


def gradient_files(store: Store) -> list[Path]:
    """The files of the pool's gradients, in the order a pass reads them."""
    n_checkpoints = len(store.checkpoints)
    return [
        store.folder / part.files[1 + t].path
        for t in range(n_checkpoints)
        for part in store.manifest.parts
    ]


def evict(paths: Sequence[Path]) -> None:
    """Give the files' pages back to the kernel; pages that someone has mapped stay."""
    for path in paths:
        with open(path, "rb") as handle:
            os.fsync(handle.fileno())
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cached_share(paths: Sequence[Path]) -> float:
    """The share of the files' pages that are in the page cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    found = total = 0
    for path in paths:
        mapped = np.memmap(path, np.uint8, "r")
        pages = np.empty(-(-len(mapped) // os.sysconf("SC_PAGESIZE")), np.uint8)
        address, length = ctypes.c_void_p(mapped.ctypes.data), ctypes.c_size_t(len(mapped))
        if libc.mincore(address, length, ctypes.c_void_p(pages.ctypes.data)):
            raise OSError(ctypes.get_errno(), f"mincore of {path}")
        found, total = found + int((pages & 1).sum()), total + len(pages)
    return found / max(total, 1)


def read_once(paths: Sequence[Path], way: str) -> None:
    """Read every byte, one file after the other, an equal slice of each in every thread."""
    threads = len(os.sched_getaffinity(0))
    slices: list[list[Slice]] = [[] for _ in range(threads)]
    for path in paths:
        edges = np.linspace(0, path.stat().st_size // 8, threads + 1).astype(int) * 8
        for mine, begin, end in zip(slices, edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            mine.append((path, begin, end))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(_WAYS[way], slices))


def _through_buffer(slices: Sequence[Slice]) -> None:
    buffer = memoryview(bytearray(_BUFFER))
    for path, begin, end in slices:
        with open(path, "rb", buffering=0) as handle:
            for start in range(begin, end, _BUFFER):
                os.preadv(handle.fileno(), [buffer[: min(_BUFFER, end - start)]], start)


def _through_map(slices: Sequence[Slice]) -> None:
    step = _BUFFER // 8
    for path, begin, end in slices:
        mapped = np.memmap(path, np.uint64, "r", shape=(end // 8,))
        for start in range(begin // 8, end // 8, step):
            np.bitwise_or.reduce(mapped[start : start + step])  # touches every page, no GIL


_WAYS: dict[str, Callable[[Sequence[Slice]], None]] = {
    "preadv": _through_buffer,
    "mmap": _through_map,
}


def put(paths: Sequence[Path], state: str) -> float:
    """Bring the files into a state of the page cache; the share that is cached then."""
    evict(paths)
    if state == "warm":
        read_once(paths, "preadv")
    return cached_share(paths)


def fastest_read(paths: Sequence[Path], state: str) -> Reading:
    """Read once in every way, each from the same state."""
    found = []
    for way in _WAYS:
        cached = put(paths, state)
        _, cost = measured(partial(read_once, paths, way))
        found.append(Reading(cost.seconds, way, cached))
    return min(found, key=lambda reading: reading.seconds)


def assert_products(catalog: Catalog, task: str) -> None:
    """The target's products with some rows, against NumPy in float64 from the files' bytes."""
    problem, store = pose(catalog, task, n_splits=0), catalog.store
    size = min(64, store.n_samples)
    index = np.random.default_rng(0).choice(store.n_samples, size, replace=False)
    found = problem.atoms.products(problem.target[None])[index, 0]
    step_sizes = np.array([c.step_size for c in store.checkpoints])
    eta, direction = step_sizes / step_sizes.sum(), catalog.common_direction()
    target = problem.target.reshape(len(eta), store.dim)
    starts = np.cumsum([0] + [part.rows for part in store.manifest.parts])
    expected = np.zeros(size)
    for place, i in enumerate(index):
        part = int(np.searchsorted(starts, i, side="right")) - 1
        for t, weight in enumerate(eta):
            unit = store.part_rows(part, t)[0][i - starts[part]].astype(np.float64)
            beside = unit - (unit @ direction[t]) * direction[t]
            expected[place] += np.sqrt(weight) * (beside @ target[t])
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-6), np.abs(found - expected).max()


def selection_from(
    catalog: Catalog, task: str, budget: str, paths: Sequence[Path], state: str
) -> tuple[Selection, Cost, float]:
    """Select from a state of the page cache; no earlier map of the files may be open."""
    cached = put(paths, state)
    problem: Problem = pose(catalog, task, n_splits=0)
    selection, cost = measured(lambda: select(problem, budget, method="gtp"))
    return selection, cost, cached


def lines(catalog: Catalog, task: str, budgets: Sequence[str], state: str) -> Iterator[str]:
    """One line per budget."""
    paths = gradient_files(catalog.store)
    reading = fastest_read(paths, state)
    for budget in budgets:
        try:
            found = selection_from(catalog, task, budget, paths, state)
        except GTPError as error:
            yield f"{state:5}{budget:>8}  {error}"
            continue
        yield f"{state:5}{budget:>8}{_line(reading, *found)}"


def _line(reading: Reading, selection: Selection, cost: Cost, cached: float) -> str:
    cells = (
        f"{len(selection.support):10,}",
        f"{reading.seconds:10.2f}  {reading.way:7}{cost.seconds:10.2f}",
        f"{cost.seconds / reading.seconds:8.2f}{len(selection.rounds):8}{cost.peak / _GIB:10.2f}",
        f"{selection.residual_weighted:10.4f}",
        f"  {reading.cached:.0%} / {cached:.0%}  {selection.stop.name}",
    )
    return "".join(cells)


def compare(folder: Path, task: str | None, budgets: Sequence[str]) -> None:
    """Print both columns, cold and warm."""
    catalog = open_catalog(open_store(folder))
    task = task or catalog.store.task_names[0]
    assert_products(catalog, task)
    print(_described(catalog.store), task)
    print(_HEAD)
    for state in ("cold", "warm"):
        for line in lines(catalog, task, budgets, state):
            print(line, flush=True)
    catalog.close()


def _described(store: Store) -> str:
    size = sum(path.stat().st_size for path in gradient_files(store))
    return (
        f"{store.n_samples:,} x {len(store.checkpoints)} x {store.dim:,} float16, "
        f"{size / 1e9:.2f} GB, {len(os.sched_getaffinity(0))} cores, task"
    )


def growth(folder: Path, task: str | None, budgets: Sequence[str]) -> None:
    """Print the warm columns for four sizes, and the exponent of each column's growth."""
    shape = _shape_of(folder)
    budgets = budgets or ("1%", str(max(1, shape.n_samples // SHARES[0] // 100)))
    sizes: list[int] = []
    taken: dict[str, list[float]] = {"read": []}
    for share in SHARES:
        smaller = replace(shape, n_samples=shape.n_samples // share)
        place = folder if share == 1 else folder.with_name(f"{folder.name}-1of{share}")
        catalog = open_catalog(make(place, smaller))
        name = task or catalog.store.task_names[0]
        assert_products(catalog, name)
        print(_described(catalog.store), name, flush=True)
        sizes.append(smaller.n_samples)
        _grow(catalog, name, budgets, taken)
        catalog.close()
    for column, seconds in taken.items():
        print(f"{column:14} {_fit(sizes, seconds)}")


def _grow(
    catalog: Catalog, task: str, budgets: Sequence[str], taken: dict[str, list[float]]
) -> None:
    """Measure one size and append its seconds."""
    paths = gradient_files(catalog.store)
    reading = fastest_read(paths, "warm")
    taken["read"].append(reading.seconds)
    print(_HEAD)
    for budget in budgets:
        selection, cost, cached = selection_from(catalog, task, budget, paths, "warm")
        taken.setdefault(f"select {budget}", []).append(cost.seconds)
        print(f"warm {budget:>8}{_line(reading, selection, cost, cached)}", flush=True)


def _fit(sizes: Sequence[int], seconds: Sequence[float]) -> str:
    exponent, start = np.polyfit(np.log(sizes), np.log(seconds), 1)
    fitted = np.exp(start) * np.array(sizes, float) ** exponent
    away = np.abs(np.array(seconds) / fitted - 1).max()
    return f"samples**{exponent:.2f} (measured within {away:.0%} of it)"


def _shape_of(folder: Path) -> Shape:
    """What a synthetic store was made from.

    Raises:
        StoreError: it is another kind of store.
    """
    said = dict(open_store(folder).manifest.declared.get("synthetic", {}))
    if said.pop("version", None) is None:
        raise StoreError(
            f"{folder} was not made by benchmarks.synthetic, so it has no smaller sisters. "
            "Make one with `python -m benchmarks.synthetic`."
        )
    return Shape(**said)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description="GTP against one read of the store.")
    parser.add_argument("store", type=Path)
    parser.add_argument("--budget", action="append", help="by default 1%% and 5%%")
    parser.add_argument("--task", help="by default the store's first")
    parser.add_argument("--linear", action="store_true", help="four sizes, warm")
    asked = parser.parse_args()
    try:
        compile_loops()
        if asked.linear:
            growth(asked.store, asked.task, asked.budget or ())
        else:
            compare(asked.store, asked.task, asked.budget or ("1%", "5%"))
    except GTPError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

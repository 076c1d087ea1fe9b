"""How cost grows with the store: four sizes, measured, fitted and drawn.

    python -m benchmarks.growth FOLDER [--samples 160000] [--dim 512] [--svg docs/growth.svg]

Synthetic stores of 1/8, 1/4, 1/2 and all of `--samples` (4 checkpoints) are made in FOLDER unless
they are there. Of each is measured, with its files in memory, the least of `--repeat` runs: load
(open the store and build its catalog from nothing), one pass (products with the target), and
selecting by GTP at a fixed budget of 100 samples. (Top-k reads what loading has computed.) Every
time is fitted by c * samples**exponent; 1.00 is linear. `--svg` draws the points and the fits on
logarithmic axes. Seconds are of CPU, all threads together, unless `--wall` is given: on a machine
that others use, the clock on the wall measures them as well.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.stages import compile_loops
from benchmarks.synthetic import Shape, make
from gtp_core import GTPError, Store, open_catalog, open_store, pose, select

Clock = Callable[[], float]
SHARES = (8, 4, 2, 1)
BUDGET = 100
SERIES = ("load", "one pass", "select gtp")
COLOURS = ("#6b7280", "#b45309", "#1d4ed8")
_WIDE, _HIGH, _LEFT, _TOP, _RIGHT, _BOTTOM = 680, 400, 70, 20, 150, 50


def fastest(work: Callable[[], object], repeat: int, clock: Clock) -> float:
    """Seconds of the fastest run."""
    taken = []
    for _ in range(repeat):
        start = clock()
        work()
        taken.append(clock() - start)
    return min(taken)


def load_once(folder: Path) -> None:
    """Open a store and build its catalog somewhere that is thrown away."""
    with tempfile.TemporaryDirectory() as workspace:
        open_catalog(open_store(folder), workspace=workspace).close()


def times_of(store: Store, repeat: int, clock: Clock) -> list[float]:
    """Seconds of every series for one store."""
    load = fastest(partial(load_once, store.folder), repeat, clock)
    with tempfile.TemporaryDirectory() as workspace:
        catalog = open_catalog(store, workspace=workspace)
        problem = pose(catalog, store.task_names[0], n_splits=0)
        found = [
            load,
            fastest(lambda: problem.atoms.products(problem.target[None]), repeat, clock),
            fastest(lambda: select(problem, BUDGET, method="gtp"), repeat, clock),
        ]
        catalog.close()
    return found


def fitted(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Exponent and factor of c * size**exponent, by least squares of the logarithms."""
    exponent, start = np.polyfit(np.log(sizes), np.log(seconds), 1)
    return float(exponent), float(np.exp(start))


def picture(sizes: Sequence[int], times: np.ndarray, unit: str) -> str:
    """The points (n_sizes, n_series) and their fits, as an SVG document."""
    low, high = np.floor(np.log10(times.min())), np.ceil(np.log10(times.max()))
    first, last = np.log10(sizes[0]), np.log10(sizes[-1])

    def at(size: float, second: float) -> tuple[float, float]:
        across = (np.log10(size) - first) / (last - first)
        up = (np.log10(second) - low) / (high - low)
        inner = _WIDE - _LEFT - _RIGHT, _HIGH - _TOP - _BOTTOM
        return _LEFT + inner[0] * across, _TOP + inner[1] * (1 - up)

    right, bottom = at(sizes[-1], 10**low)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {_HIGH}" '
        'font-family="sans-serif" font-size="13" fill="#374151">',
        f"<title>Seconds against samples, {sizes[0]:,} to {sizes[-1]:,}</title>",
        f'<rect width="{_WIDE}" height="{_HIGH}" fill="#ffffff"/>',
    ]
    for power in range(int(low), int(high) + 1):
        _, y = at(sizes[0], 10.0**power)
        lines.append(f'<path d="M{_LEFT} {y:.1f}H{right:.1f}" stroke="#e5e7eb"/>')
        text = f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>'
        lines.append(text)
    for size in sizes:
        x, _ = at(size, 10**low)
        lines.append(f'<path d="M{x:.1f} {_TOP}V{bottom:.1f}" stroke="#e5e7eb"/>')
        lines.append(
            f'<text x="{x:.1f}" y="{bottom + 20:.1f}" text-anchor="middle">{size:,}</text>'
        )
    where = f'x="{(_LEFT + right) / 2:.1f}" y="{_HIGH - 8}" text-anchor="middle"'
    lines.append(f"<text {where}>samples ({unit})</text>")
    for name, colour, column in zip(SERIES, COLOURS, times.T, strict=True):
        lines += _drawn(name, colour, sizes, column, at)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _drawn(
    name: str,
    colour: str,
    sizes: Sequence[int],
    seconds: np.ndarray,
    at: Callable[[float, float], tuple[float, float]],
) -> list[str]:
    exponent, factor = fitted(sizes, seconds.tolist())
    begin, end = (at(size, factor * size**exponent) for size in (sizes[0], sizes[-1]))
    lines = [
        f'<path d="M{begin[0]:.1f} {begin[1]:.1f}L{end[0]:.1f} {end[1]:.1f}" '
        f'stroke="{colour}" stroke-width="2"/>',
        f'<text x="{end[0] + 12:.1f}" y="{end[1] + 4:.1f}" fill="{colour}">'
        f"{name} n^{exponent:.2f}</text>",
    ]
    for size, second in zip(sizes, seconds.tolist(), strict=True):
        x, y = at(size, second)
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
    return lines


def measure(folder: Path, shape: Shape, repeat: int, clock: Clock) -> tuple[list[int], np.ndarray]:
    """Make the stores, print a line for each; sizes and seconds (n_sizes, n_series)."""
    sizes, times = [], []
    print("| samples | " + " | ".join(f"{name}, s" for name in SERIES) + " |")
    print("|---" * (1 + len(SERIES)) + "|")
    for share in SHARES:
        n_samples = shape.n_samples // share
        smaller = Shape(n_samples, shape.n_checkpoints, shape.dim, shape.seed)
        times.append(times_of(make(folder / f"{n_samples}-{shape.dim}", smaller), repeat, clock))
        sizes.append(n_samples)
        cells = " | ".join(f"{second:.2f}" for second in times[-1])
        print(f"| {n_samples:,} | {cells} |", flush=True)
    return sizes, np.array(times)


def main() -> None:
    """Measure, fit and draw."""
    parser = argparse.ArgumentParser(description="Cost against the size of the store.")
    parser.add_argument("folder", type=Path, help="where the stores are made")
    parser.add_argument("--samples", type=int, default=160_000, help="of the largest")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--wall", action="store_true", help="wall seconds in place of CPU's")
    parser.add_argument("--svg", type=Path, help="draw here")
    asked = parser.parse_args()
    try:
        compile_loops()
        shape = Shape(asked.samples, 4, asked.dim)
        clock = time.perf_counter if asked.wall else time.process_time
        sizes, times = measure(asked.folder, shape, asked.repeat, clock)
    except GTPError as error:
        sys.exit(str(error))
    exponents = [fitted(sizes, column.tolist())[0] for column in times.T]
    told = " | ".join(f"n^{exponent:.2f}" for exponent in exponents)
    print(f"| fit | {told} |")
    if asked.svg:
        asked.svg.write_text(
            picture(sizes, times, "wall seconds" if asked.wall else "CPU seconds"), encoding="utf-8"
        )


if __name__ == "__main__":
    main()

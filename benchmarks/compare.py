"""What a comparison costs: judging each selection once, then everything the page draws, in bytes.

    python -m benchmarks.compare FOLDER [--samples 120000] [--dim 64] [--budget 200] [--spread]

A synthetic store (4 checkpoints) is made in FOLDER unless it is there. GTP, top-k, random and GTP
at half the budget are chosen and judged (verdicts, covered shares and gains of the whole pool:
paid once a selection, and read from disk for a saved run). Then, with that known, the least of
`--repeat` runs of every number and figure of the page is taken, and what each puts on the wire.
Before the clock is read, overlaps and likeness are asserted equal to sets and to all pairs.
`--spread` also fits every method anew on parts of the examples, which the page does last.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.stages import compile_loops
from benchmarks.synthetic import Shape, make
from gtp_core import open_catalog, pose
from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.figures import (
    Picture,
    by_checkpoint_figure,
    hero_figure,
    likeness_figure,
    ranks_figure,
    sources_figure,
    styles,
    upset_figure,
)
from gtp_core.methods import Settings
from gtp_core.report import (
    Contestant,
    by_checkpoint,
    choose,
    contestant,
    exclusive,
    five_sentences,
    gains,
    likeness,
    likeness_table,
    only,
    overlaps,
    ranks,
    scores,
    source_mix,
    with_spread,
)

Part = Callable[[], Any]


def four(catalog: Catalog, problem: Problem, budget: int) -> list[Contestant]:
    """Everyone who takes part, judged, with what each cost."""
    found = []
    wanted = (("gtp", budget), ("top-k", budget), ("random", budget), ("gtp", budget // 2))
    for method, size in wanted:
        start = time.perf_counter()
        selection, held = choose(problem, size, method=method, settings=Settings())
        chosen = time.perf_counter()
        name = f"{method} {size}"
        found.append(contestant(catalog, problem, selection, name=name, held=held, refit=False))
        judged = time.perf_counter()
        print(f"{name:24} chosen {chosen - start:7.2f} s   judged {judged - chosen:7.2f} s")
    return found


def check(problem: Problem, found: Sequence[Contestant]) -> None:
    """Overlaps against sets, likeness against all pairs at once."""
    sets = {one.name: set(one.support.tolist()) for one in found}
    for row in overlaps(found).iter_rows(named=True):
        assert row["both"] == len(sets[row["a"]] & sets[row["b"]])
    for one in found:
        rows = problem.atoms.rows(one.support).astype(np.float64)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        cosines = rows @ rows.T
        np.fill_diagonal(cosines, -1)
        assert np.abs(likeness(problem, one.support).cosines - cosines.max(1)).max() < 1e-6


def parts(catalog: Catalog, problem: Problem, found: Sequence[Contestant]) -> dict[str, Part]:
    """What the page shows, by name: every number, figure and table of it."""
    a, b = found[:2]
    names, pair = [one.name for one in found], (a.name, b.name)
    styled = styles(names, [one.selection.method for one in found])
    alike = {one.name: (one.likeness.n_alike, len(one.likeness.places)) for one in found}
    supports = {one.name: one.support for one in found}
    return {
        "five sentences": lambda: five_sentences(catalog, problem, found),
        "influence x gain": lambda: hero_figure(
            gains(catalog, problem, a, b, given=a), pair, "light"
        ),
        "scores": lambda: scores(found),
        "overlap": lambda: upset_figure(exclusive(found), styled, "light"),
        "likeness": lambda: likeness_figure(likeness_table(found), alike, styled, "light"),
        "sources": lambda: sources_figure(source_mix(catalog, supports), styled, "light"),
        "by checkpoint": lambda: by_checkpoint_figure(
            by_checkpoint(catalog, problem, found), styled, "light"
        ),
        "ranks": lambda: ranks_figure(ranks(problem, a, b), pair, "light"),
        "only A": lambda: only(catalog, problem, a, b),
        "only B": lambda: only(catalog, problem, b, a),
    }


def n_bytes(answer: Any) -> int:
    """What it puts on the wire, about: a figure's JSON, a table's columns, a text's letters."""
    if isinstance(answer, Picture):
        return len(answer.figure.to_json().encode()) + len(answer.alt)
    if isinstance(answer, list):
        return sum(len(text.encode()) for text in answer)
    return int(answer.estimated_size())


def report(all_parts: dict[str, Part], repeat: int) -> None:
    """Seconds and bytes of every part, and of all together."""
    seconds, size = 0.0, 0
    for name, work in all_parts.items():
        taken = []
        for _ in range(repeat):
            start = time.perf_counter()
            answer = work()
            taken.append(time.perf_counter() - start)
        seconds, size = seconds + min(taken), size + n_bytes(answer)
        print(f"{name:24} {1000 * min(taken):8.1f} ms  {n_bytes(answer) / 1000:8.1f} kB")
    print(f"{'all, verdicts known':24} {1000 * seconds:8.1f} ms  {size / 1000:8.1f} kB")


def main() -> None:
    """Print what judging costs, and what every part of the page does."""
    parser = argparse.ArgumentParser(description="Cost of a comparison.")
    parser.add_argument("folder", help="where the store is, or is made")
    parser.add_argument("--samples", type=int, default=120_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--spread", action="store_true", help="fit anew on parts of the examples")
    options = parser.parse_args()
    compile_loops()
    store = make(Path(options.folder), Shape(options.samples, 4, options.dim))
    catalog = open_catalog(store)
    print(f"{store.n_samples:,} samples x {len(store.checkpoints)} x {options.dim}")
    problem = pose(catalog, store.task_names[0])
    found = four(catalog, problem, options.budget)
    check(problem, found)
    report(parts(catalog, problem, found), options.repeat)
    if options.spread:
        for one in found:
            start = time.perf_counter()
            with_spread(problem, one, refit=True)
            print(f"{one.name:24} spread {time.perf_counter() - start:7.2f} s")
    catalog.close()


if __name__ == "__main__":
    sys.exit(main())

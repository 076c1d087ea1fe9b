"""The graph of a store: seconds and memory of every stage, recall against brute force.

    python -m benchmarks.synthetic /tmp/store && python -m benchmarks.neighbors /tmp/store

Recall is over pairs of a cosine of at least 0.8, in full dimension: those of `--queries` samples
drawn by chance with all others, by one pass, and those that `benchmarks.synthetic` planted.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import polars as pl

from gtp_core.neighbors.graph import build_graph
from gtp_core.neighbors.pairs import FLOOR, gradient_pairs
from gtp_core.neighbors.sketch import sketch, width_for
from gtp_core.store import open_store
from gtp_core.trajectories import Trajectories, open_trajectories, valid_rows


def measured(folder: Path, queries: int, seed: int) -> None:
    """Print the stages, then the recall."""
    store = open_store(folder)
    trajectories = open_trajectories(store)
    valid = valid_rows(store.norms())
    clock = [time.perf_counter(), time.process_time()]

    def lap(what: str) -> None:
        now = [time.perf_counter(), time.process_time()]
        wall, cpu = (b - a for a, b in zip(clock, now, strict=True))
        clock[:] = now
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{what}: {wall:.1f} s, {cpu:.1f} s of CPU; peak {peak:,.0f} MiB with mapped files")

    width = width_for(trajectories.n_samples, trajectories.dim)
    sketches, _ = sketch(trajectories, None, width=width, seed=seed)
    lap(f"{trajectories.n_samples:,} x {trajectories.dim:,} sketched to {width}")
    graph = build_graph(sketches, valid, seed=seed)
    lap(f"graph over {len(graph.points):,} points")
    exact = width == trajectories.dim
    found = gradient_pairs(trajectories, None, graph, sketches, exact=exact)
    lap(f"{len(found.one):,} pairs in full dimension")
    pairs = set(zip(found.one.tolist(), found.other.tolist(), strict=True))
    print(f"recall of {_drawn(trajectories, found.copies, pairs, queries, seed)}")
    if (folder / "truth.parquet").exists():
        print(f"recall of {_planted(folder, found.copies, pairs)}")


def _share(copies: np.ndarray, pairs: set[tuple[int, int]], asked: list[tuple[int, int]]) -> str:
    """How many of these pairs of rows are found, as copies or as pairs of their first ones."""
    hits = 0
    for one, other in asked:
        a, b = sorted((int(copies[one]), int(copies[other])))
        hits += a == b or (a, b) in pairs
    return f"{len(asked):,} pairs: {hits / max(len(asked), 1):.5f}"


def _drawn(
    trajectories: Trajectories,
    copies: np.ndarray,
    pairs: set[tuple[int, int]],
    queries: int,
    seed: int,
) -> str:
    """All pairs of some samples, by brute force; half of them have a twin at least."""
    generator = np.random.default_rng(seed)
    usable = np.flatnonzero(copies >= 0)
    with_twin = np.unique(np.array(sorted(pairs), np.int64)) if pairs else usable
    drawn = [generator.choice(some, min(queries // 2, len(some))) for some in (usable, with_twin)]
    rows = np.unique(np.concatenate(drawn))
    cosines = trajectories.products(trajectories.rows(rows).astype(np.float64))
    cosines[copies < 0] = 0
    asked = [
        (int(row), int(other))
        for column, row in enumerate(rows)
        for other in np.flatnonzero(cosines[:, column] >= FLOOR + 1e-3)
        if other != row
    ]
    return f"{len(rows):,} samples with all others, " + _share(copies, pairs, asked)


def _planted(folder: Path, copies: np.ndarray, pairs: set[tuple[int, int]]) -> str:
    table = pl.read_parquet(folder / "truth.parquet")
    table = table.filter(pl.col("kind").is_in(["exact", "near"]))
    return "what was planted, " + _share(copies, pairs, table.select("row", "of").rows())


def main() -> None:
    """Measure the store that the command line names."""
    parser = argparse.ArgumentParser(description="Seconds, memory and recall of the graph.")
    parser.add_argument("store", type=Path, help="folder of a store")
    parser.add_argument("--queries", type=int, default=200, help="samples for brute force")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    measured(asked.store, asked.queries, asked.seed)


if __name__ == "__main__":
    main()

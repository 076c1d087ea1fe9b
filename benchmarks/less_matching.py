"""Influence over a store: our pass against LESS's matching, each in a process of its own.

    python -m benchmarks.less_matching STORE [--task T] [--repeat 3]

LESS (Xia et al. 2024) matches like this, written here from the article and its script's order of
steps: per checkpoint, all samples' gradients and all validation examples' as whole float32 matrices
in memory, one product of the two, times the checkpoint's step weight, summed; then per sample the
mean over the examples of each subtask, and the largest of those. Ours is `products` of the memory-
mapped float16 rows with the subtasks' means: the mean is taken before the product.

Both read the same files, both in memory already (each is read once before any clock), with the
threads that the machine gives them. Seconds are the fastest of `--repeat` runs, from opening the
store to the scores, imports and compiling left out; memory is the peak of anonymous resident memory
above what the process had before (RssAnon, so that memory-mapped files do not count, which the
kernel can drop). Before a ratio is printed, the two answers are asserted equal: the largest
difference is at most 1e-3 of the largest influence, and each influence that is at least a tenth of
it agrees to 1e-3 of itself.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.stages import anonymous_memory, measured
from gtp_core import GTPError, Store, kernels, open_store
from gtp_core.trajectories import open_task, open_trajectories, step_weights

ROOT = Path(__file__).resolve().parent.parent
_MIB = 1 << 20
Way = Callable[[Store, str], np.ndarray]


def ours(store: Store, task: str) -> np.ndarray:
    """Influence (n_samples,) by one pass over the memory map."""
    return open_trajectories(store).products(open_task(store, task).targets()).max(axis=1)


def less(store: Store, task: str) -> np.ndarray:
    """Influence (n_samples,) by products of whole float32 matrices."""
    import torch

    names = store.examples(task)["subtask"].to_list()
    total = torch.zeros(store.n_samples, len(names))
    for t, weight in enumerate(step_weights(store.checkpoints)):
        parts = [store.part_rows(p, t)[0] for p in range(len(store.manifest.parts))]
        training = torch.from_numpy(np.concatenate(parts)).float()
        validation = torch.from_numpy(np.array(store.task_rows(task, t)[0])).float()
        total += float(weight) * torch.matmul(training, validation.T)
    means = [
        total[:, [place for place, name in enumerate(names) if name == subtask]].mean(dim=1)
        for subtask in dict.fromkeys(names)
    ]
    return torch.stack(means, dim=1).max(dim=1)[0].numpy()


WAYS: dict[str, Way] = {"less": less, "ours": ours}


def run_one(way: str, folder: Path, task: str, repeat: int, out: Path) -> None:
    """In a process of its own: write the scores, print seconds and memory as JSON."""
    store = open_store(folder)
    _wake(way)
    base, costs = anonymous_memory(), []
    WAYS[way](store, task)  # compiles what is left, reads the files once
    for _ in range(repeat):
        scores, cost = measured(lambda: WAYS[way](open_store(folder), task))
        costs.append(cost)
    np.save(out, scores)
    fastest = min(cost.seconds for cost in costs)
    peak = max(cost.peak for cost in costs)
    print(json.dumps({"seconds": fastest, "bytes": peak - base}))


def _wake(way: str) -> None:
    """Load what a way stands on, which is no part of its memory."""
    if way == "less":
        import torch

        torch.matmul(torch.ones(256, 256), torch.ones(256, 256))
    else:
        out = np.empty((2, 2), np.float32)
        kernels.products(np.zeros((2, 8), np.uint16), np.zeros((2, 8), np.float32), out)


def measured_apart(way: str, folder: Path, task: str, repeat: int, out: Path) -> dict[str, float]:
    """Run one way in a fresh process."""
    words = [sys.executable, "-m", "benchmarks.less_matching", str(folder), "--task", task]
    words += ["--repeat", str(repeat), "--way", way, "--out", str(out)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def assert_equal(ours: np.ndarray, less: np.ndarray) -> float:
    """The largest difference relative to the largest influence; at most 1e-3."""
    most = np.abs(less).max()
    apart = np.abs(ours - less)
    assert apart.max() <= 1e-3 * most, apart.max() / most
    large = np.abs(less) >= 0.1 * most
    assert (apart[large] <= 1e-3 * np.abs(less[large])).all()
    return float(apart.max() / most)


def compare(folder: Path, task: str | None, repeat: int) -> None:
    """Print both ways and their ratios."""
    store = open_store(folder)
    task = task or store.task_names[0]
    with tempfile.TemporaryDirectory() as place:
        paths = {way: Path(place) / f"{way}.npy" for way in WAYS}
        cost = {way: measured_apart(way, folder, task, repeat, paths[way]) for way in WAYS}
        difference = assert_equal(np.load(paths["ours"]), np.load(paths["less"]))
    shape = f"{store.n_samples:,} x {len(store.checkpoints)} x {store.dim:,}"
    print(f"{shape}, task {task}, {len(store.examples(task))} examples; {difference:.0e} apart")
    print("| way | seconds | peak memory, MiB |\n|---|---|---|")
    for way, found in cost.items():
        print(f"| {way} | {found['seconds']:.3f} | {found['bytes'] / _MIB:,.0f} |")
    time = cost["less"]["seconds"] / cost["ours"]["seconds"]
    memory = cost["less"]["bytes"] / max(cost["ours"]["bytes"], 1)
    print(f"ours is {time:.1f} times as fast and takes 1/{memory:.1f} of the memory.")


def main() -> None:
    """Compare, or be one side of it."""
    parser = argparse.ArgumentParser(description="Influence: our pass against LESS's matching.")
    parser.add_argument("store", type=Path)
    parser.add_argument("--task", help="by default the store's first")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    try:
        if asked.way:
            run_one(asked.way, asked.store, asked.task, asked.repeat, asked.out)
        else:
            compare(asked.store, asked.task, asked.repeat)
    except GTPError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

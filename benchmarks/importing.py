"""Imports judged by their producers' own scores, and by a plain copy of the same files.

    python -m benchmarks.importing PATH [gigabytes] [scratch folder]

PATH holds real stores: `common/{train,eval,warmup}`, `less/{grads,selected_data}`,
`bergson/{global512,permodule8,truth}`, `trak/{store,truth}`, `dattri/{store,truth}`; what is not
there is left out. Each is imported and its rows are held against the scores the producer wrote.
Then a LESS source of that many gigabytes (default 4) is made, copied and imported, each time with
the files' pages dropped from memory first; the import runs in a process of its own, whose peak
of resident memory is printed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import torch

from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.importers import Asked, import_store, survey
from gtp_core.store import Store

_DIM = 8192
_SHARE = 20  # compared among the first
Row = tuple[str, np.ndarray, np.ndarray]


def influences(store: Store, task: str, workspace: Path) -> np.ndarray:
    """What top-k ranks by over an imported store."""
    with closing(open_catalog(store, workspace=workspace)) as catalog:
        sql = "SELECT influence FROM influences WHERE task = $1 ORDER BY row"
        return catalog.query(sql, [task])["influence"].to_numpy()


def raw_rows(store: Store, checkpoint: int, task: str | None = None) -> np.ndarray:
    """Unit rows times norms, (rows, dim) float64."""
    n_parts = len(store.manifest.parts)
    found = [store.part_rows(p, checkpoint) for p in range(n_parts)]
    found = [store.task_rows(task, checkpoint)] if task else found
    return np.concatenate([u.astype(float) * n[:, None] for u, n in found])


def products(store: Store, task: str) -> np.ndarray:
    """Mean over checkpoints of the raw products, (n_samples, n_examples)."""
    steps = range(len(store.checkpoints))
    return np.mean([raw_rows(store, t) @ raw_rows(store, t, task).T for t in steps], axis=0)


def less(path: Path, work: Path) -> Iterator[Row]:
    """LESS's sorted.csv of every task, raw and normalised rows."""
    common = path / "common"
    for rows in ("raw", "normalised"):
        asked = Asked(
            samples=tuple(str(common / "train" / f"{n}.jsonl") for n in ("alpha", "beta")),
            task=tuple(f"{t}={common / 'eval' / f'{t}_val.jsonl'}" for t in ("bbh", "tydiqa")),
            checkpoints=str(common / "warmup"),
            rows=rows,
        )
        store = import_store(survey("less", path / "less", asked), work / f"less-{rows}")
        first = {"alpha": 0, "beta": store.manifest.producer["files"][0]["rows"]}
        for task in store.task_names:
            told = np.zeros(store.n_samples)
            lines = (path / "less" / "selected_data" / task / "sorted.csv").read_text().split("\n")
            for line in filter(None, lines[1:]):
                name, index, score = line.split(", ")
                told[first[name] + int(index)] = float(score)
            yield f"LESS {task}, {rows} rows", influences(store, task, work / "ws"), told


def bergson(path: Path, work: Path) -> Iterator[Row]:
    """bergson's cosine scores and its nearest query, and LESS's formula on its index."""
    common, truth = path / "common", path / "bergson" / "truth"
    asked = Asked(checkpoints=str(common / "warmup"))
    store = import_store(survey("bergson", path / "bergson" / "global512", asked), work / "global")
    for task in store.task_names:
        told = pl.read_csv(truth / f"lesslike_{task}_global512.csv")["less_matching_formula_score"]
        found = influences(store, task, work / "ws")
        yield f"bergson {task}, matched as LESS does", found, told.to_numpy()
    texts = (str(common / "train" / "all200.jsonl"),)
    asked = Asked(samples=texts, subtasks=("bbh=each",), task=("bbh",))
    store = import_store(survey("bergson", path / "bergson" / "permodule8", asked), work / "module")
    told = pl.read_csv(truth / "bergson_score_bbh_ckpt45_nearest.csv")["score_0"].to_numpy()
    yield "bergson bbh, nearest query's cosine", influences(store, "bbh", work / "ws"), told
    cosines = pl.read_csv(truth / "bergson_score_bbh_ckpt45_cos.csv").to_numpy()
    found = store.part_rows(0, 0)[0].astype(float) @ store.task_rows("bbh", 0)[0].astype(float).T
    yield "bergson bbh, every cosine", found, cosines


def ranked_raw(store: Store, task: str, told: np.ndarray, work: Path) -> tuple[np.ndarray, ...]:
    """What top-k ranks by with `--gradients raw`, and the producer's mean, each by its largest."""
    with closing(open_catalog(store, workspace=work / "raw")) as catalog:
        problem = pose(catalog, task, gradients="raw")
    groups = store.examples(task)["subtask"].to_numpy()
    names = dict.fromkeys(groups.tolist())
    wanted = np.max([told[:, groups == name].mean(axis=1) for name in names], axis=0)
    return problem.influence / np.abs(problem.influence).max(), wanted / np.abs(wanted).max()


def trak(path: Path, work: Path) -> Iterator[Row]:
    """TRAK's scores: products of the stored rows, lengths included."""
    common = path / "common"
    asked = Asked(
        samples=(str(common / "train" / "all200.jsonl"),),
        task=(f"bbh={common / 'eval' / 'bbh_val.jsonl'}",),
    )
    store = import_store(survey("trak", path / "trak" / "store", asked), work / "trak")
    told = pl.read_csv(path / "trak" / "truth" / "trak_scores_bbh.csv").to_numpy()
    yield "TRAK bbh, products", products(store, "bbh"), told
    yield "TRAK bbh, top-k of raw", *ranked_raw(store, "bbh", told, work)


def dattri(path: Path, work: Path) -> Iterator[Row]:
    """dattri's scores: products of the stored rows, lengths included."""
    common, truth = path / "common", path / "dattri" / "truth"
    for kind in ("identity", "efim"):
        asked = Asked(
            samples=(str(common / "train" / "all200.jsonl"),),
            task=(f"bbh={common / 'eval' / 'bbh_val.jsonl'}",),
            task_gradients=(f"bbh={truth / f'test_grads_{kind}.npy'}",),
        )
        plan = survey("dattri", path / "dattri" / "store" / kind, asked)
        store = import_store(plan, work / f"dattri-{kind}")
        told = pl.read_csv(truth / f"dattri_logra_{kind}_bbh.csv").to_numpy()
        yield f"dattri bbh {kind}, products", products(store, "bbh"), told
        yield f"dattri bbh {kind}, top-k of raw", *ranked_raw(store, "bbh", told, work)


def agreement(path: Path, work: Path) -> list[dict[str, object]]:
    """How far every imported store's scores are from the producer's own, one row each."""
    rows = []
    for producer in (less, bergson, trak, dattri):
        if not (path / producer.__name__).is_dir():
            continue
        for name, found, told in producer(path, work):
            rows.append({"scores": name, **distance(found, told)})
    return rows


def distance(found: np.ndarray, told: np.ndarray) -> dict[str, float]:
    """The largest difference over the largest score; ranks shared; the first ones shared.

    Of a matrix (samples, queries), ranks are compared query by query and the worst is given.
    """
    assert found.shape == told.shape
    columns = zip(np.atleast_2d(found.T), np.atleast_2d(told.T), strict=True)
    ranks, first = [], []
    for a, b in columns:
        mine, theirs = (np.argsort(-x, kind="stable") for x in (a, b))
        ranks.append(np.corrcoef(np.argsort(mine), np.argsort(theirs))[0, 1])
        # A sample of theirs counts as found when its score is within the difference of ties.
        least = b[theirs[_SHARE - 1]] - 2 * np.abs(a - b).max()
        first.append(np.mean(b[mine[:_SHARE]] >= least))
    scale = np.abs(told).max()
    return {
        "difference": float(np.abs(found - told).max() / scale),
        "rank_correlation": float(min(ranks)),
        "first_20": float(min(first)),
    }


def make_source(folder: Path, gigabytes: float) -> int:
    """A LESS source of that size in float32: one training set, two checkpoints; its rows."""
    rows = max(64, int(gigabytes * 1e9 / (2 * _DIM * 4)))
    generator = torch.Generator().manual_seed(0)
    block = torch.randn(4096, _DIM, generator=generator)
    for step in (1, 2):
        for name, kind, n in (("pool", "adam", rows), ("bbh", "sgd", 81)):
            place = folder / "grads" / f"{name}-ckpt{step}-{kind}" / f"dim{_DIM}"
            place.mkdir(parents=True)
            matrix = block.repeat(-(-n // len(block)), 1)[:n].clone()
            torch.save(matrix, place / "all_unormalized.pt")
    with open(folder / "pool.jsonl", "w", encoding="utf-8") as handle:
        for i in range(rows):
            handle.write(json.dumps({"id": f"s{i}", "prompt": f"p {i}", "completion": "c"}) + "\n")
    return rows


def drop(folder: Path) -> None:
    """Forget the pages of all files of a folder, so that the disk is read."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as handle:
                os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed_copy(folder: Path, to: Path) -> float:
    """Seconds to copy the gradient files and have them on disk."""
    drop(folder)
    start = time.perf_counter()
    to.mkdir()
    for at, path in enumerate(sorted(folder.rglob("*.pt"))):
        copy = shutil.copyfile(path, to / str(at))
        with open(copy, "rb+") as handle:
            os.fsync(handle.fileno())
    seconds = time.perf_counter() - start
    shutil.rmtree(to)
    return seconds


_IMPORT = """
import sys, time
start = time.perf_counter()
from gtp_core.importers import Asked, import_store, survey
asked = Asked(samples=(sys.argv[1] + "/pool.jsonl",), step_size=("all=1",))
import_store(survey("less", sys.argv[1], asked), sys.argv[2])
peak = open("/proc/self/status").read().split("VmHWM:")[1].split()[0]
print(time.perf_counter() - start, peak)
"""


def timed_import(folder: Path, to: Path) -> tuple[float, float]:
    """Seconds of an import in a process of its own, its start included, and its peak in MiB."""
    drop(folder)
    command = [sys.executable, "-c", _IMPORT, str(folder), str(to)]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
    seconds, peak = done.stdout.split()
    return float(seconds), int(peak) / 1024


def main() -> None:
    """Print agreement, then speed."""
    parser = argparse.ArgumentParser(description="Imports against producers' scores, and a copy.")
    parser.add_argument("path", type=Path, help="folder of real stores")
    parser.add_argument("gigabytes", type=float, nargs="?", default=4.0, help="0: no speed")
    parser.add_argument("scratch", nargs="?", help="where to make what is thrown away")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=told.scratch) as folder:
        for row in agreement(told.path, Path(folder)):
            print(
                f"{row['scores']:42} largest difference {row['difference']:.1e}, rank correlation "
                f"{row['rank_correlation']:.5f}, first {_SHARE}: {row['first_20']:.0%}"
            )
        if told.gigabytes:
            _print_speed(Path(folder), told.gigabytes)


def _print_speed(folder: Path, gigabytes: float) -> None:
    source = folder / "source"
    rows = make_source(source, gigabytes)
    size = sum(p.stat().st_size for p in source.rglob("*.pt")) / 1e9
    print(f"LESS source, {rows:,} rows x 2 checkpoints x {_DIM:,} float32, {size:.2f} GB")
    for turn in range(2):
        copy = timed_copy(source, folder / "copy")
        seconds, peak = timed_import(source, folder / "store")
        shutil.rmtree(folder / "store")
        print(
            f"turn {turn + 1}: copy {copy:.1f} s ({size / copy:.2f} GB/s), import {seconds:.1f} s "
            f"({size / seconds:.2f} GB/s), {seconds / copy:.2f} of a copy, peak {peak:,.0f} MiB"
        )


if __name__ == "__main__":
    main()

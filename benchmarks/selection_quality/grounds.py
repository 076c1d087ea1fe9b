"""What is chosen from and asked: the demo, or a real pool with a model trained on the spot."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import real_pool
from benchmarks.quality import DEMO
from gtp_core import Catalog, open_catalog
from gtp_core.atoms import POOL
from gtp_core.collect.pool import Record, read_records
from gtp_core.demo.pool import make_pool

IN_DOMAIN = "in-domain"
DUPLICATES = ("exact-duplicate", "near-duplicate", "paraphrase-duplicate")
SKILLS = {
    "shop-arithmetic": ("word-problems", "arithmetic", "unit-conversion"),
    "tidy-data": ("extract-json", "table-lookup", "list-ops", "string-edit"),
    "calendar": ("dates",),
}
_COMMON = {"epochs": 4, "batch_size": 8, "points": 1, "dtype": "fp32", "threads": 1}
_COMMON |= {"max_new_tokens": 0}
TRAINING: Mapping[str, Mapping[str, Any]] = {
    "demo": {**_COMMON, "learning_rate": 3e-3},
    "real": {**_COMMON, "learning_rate": 3e-3},
}
"""Settings of `verify` under which training on a task's own kind visibly helps, by pool."""


@dataclass(frozen=True)
class Ground:
    """A pool, its model, and what trained models are asked.

    Attributes:
        aims: by the name of a task what is matched; IN_DOMAIN matches the pool's mean.
        tests: test examples of every task; their subtask is the task's name.
        counterparts: by task, (n_samples,) bool: samples of the task's own kind; in the demo,
            of IN_DOMAIN, the clean ones.
        planted: by name of a fault, (n_samples,) bool.
        training: settings of `verify`.
    """

    name: str
    catalog: Catalog
    model: Path
    aims: Mapping[str, str]
    tests: Mapping[str, tuple[Record, ...]]
    counterparts: Mapping[str, np.ndarray]
    planted: Mapping[str, np.ndarray]
    training: Mapping[str, Any]


def demo_ground(work: Path, *, folder: Path = DEMO, most: int = 100) -> Ground:
    """The demo: kinds are known by what was planted; in-domain asks clean samples of another seed.

    Args:
        most: test examples of every task, the first of them.
    """
    catalog = open_catalog(folder, workspace=work / "workspace")
    truth = real_pool.read_lines(folder / "truth.jsonl")
    kind = np.array([row["kind"] for row in truth])
    skill = np.array([row["skill"] for row in truth])
    names = catalog.store.task_names
    tests = {name: _records(folder / "tests" / f"{name}.jsonl", name, most) for name in names}
    path = work / "in-domain.jsonl"
    if not path.is_file():
        real_pool.write_lines(path, _fresh(catalog, 3 * most))
    return Ground(
        name="demo",
        catalog=catalog,
        model=folder / "model",
        aims={**{name: name for name in names}, IN_DOMAIN: POOL},
        tests={**tests, IN_DOMAIN: _records(path, IN_DOMAIN, most)},
        counterparts={name: np.isin(skill, SKILLS.get(name, ())) for name in names}
        | {IN_DOMAIN: kind == "clean"},
        planted={"duplicates": np.isin(kind, DUPLICATES), "wrong answers": kind == "wrong-answer"},
        training=TRAINING["demo"],
    )


def _fresh(catalog: Catalog, count: int) -> list[dict[str, Any]]:
    """Clean samples drawn as the demo's pool is, with prompts that it does not have."""
    known = set(catalog.query("SELECT prompt FROM samples")["prompt"].to_list())
    pool = make_pool(1, max(1000, 4 * count))
    pairs = zip(pool.records, pool.truth, strict=True)
    clean = [row for row, told in pairs if told["kind"] == "clean" and row["prompt"] not in known]
    return clean[:count]


def real_ground(options: argparse.Namespace, *, most: int = 60) -> Ground:
    """The pool of `benchmarks.real_pool`, made where it is missing; in-domain asks the left over.

    Args:
        options: as that command reads them.
    """
    work = options.work
    for part in real_pool.steps(options):
        print(f"made: {part}", flush=True)
    path = work / "tests" / f"{IN_DOMAIN}.jsonl"
    if not path.is_file():
        real_pool.left_over(options, 4 * most, path)
    catalog = open_catalog(work / "store", workspace=work / "workspace")
    names = catalog.store.task_names
    source = catalog.query("SELECT source FROM samples ORDER BY row")["source"].to_numpy()
    own = {name: np.isin(source, real_pool.COUNTERPARTS.get(name, ())) for name in names}
    tests = {t: _records(work / "tests" / f"{t}.jsonl", t, most) for t in (*names, IN_DOMAIN)}
    return Ground(
        name="real",
        catalog=catalog,
        model=work / "model",
        aims={**{name: name for name in names}, IN_DOMAIN: POOL},
        tests=tests,
        counterparts={name: mask for name, mask in own.items() if mask.any()},
        planted={},
        training=TRAINING["real"],
    )


def _records(path: Path, name: str, most: int) -> tuple[Record, ...]:
    """Test examples spread evenly over a file, called after their task."""
    records = list(read_records(path))
    kept = np.unique(np.linspace(0, len(records) - 1, min(most, len(records))).astype(int))
    return tuple(replace(records[i], subtask=name) for i in kept.tolist())

"""What is trained on: the subsets of runs, chance draws of the same size, and the whole pool."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from gtp_core.atoms import pose
from gtp_core.catalog import Catalog
from gtp_core.collect.encode import Encoded
from gtp_core.collect.pool import content_of
from gtp_core.collect.template import Template
from gtp_core.errors import RunError
from gtp_core.methods import Settings, select

FULL = "full"


@dataclass(frozen=True)
class Subset:
    """Rows of the pool and how much each counts: weights (n,) of mean one."""

    rows: np.ndarray
    weights: np.ndarray

    def digest(self) -> str:
        """SHA-256 of both, so that a trial of another subset is never taken for one of this."""
        parts = (self.rows.astype("<i8").tobytes(), self.weights.astype("<f8").tobytes())
        return hashlib.sha256(b"".join(parts)).hexdigest()


@dataclass(frozen=True)
class Arm:
    """Something to train on, by a name that is also a file's.

    Attributes:
        subset: what it is with a seed; chance draws differ from seed to seed.
    """

    name: str
    method: str
    subset: Callable[[int], Subset]


def arms_of(
    catalog: Catalog,
    runs: Mapping[str, tuple[dict[str, Any], Mapping[str, pl.DataFrame]]],
    *,
    weighted: bool,
    random: bool,
    full: bool,
) -> list[Arm]:
    """The arms: every run, then a chance draw of every size among them, then the whole pool.

    Raises:
        RunError: a run of another store or without samples, or runs of different tasks.
    """
    tasks = {run["task"] for run, _ in runs.values()}
    if len(tasks) > 1:
        raise RunError(
            f"the runs aim at different tasks ({', '.join(sorted(tasks))}), and a test is of one. "
            "Verify them task by task."
        )
    arms, sizes = [], []
    for run_id, (run, tables) in runs.items():
        if run["store_digest"] != catalog.store.digest:
            raise RunError(
                f"run {run_id!r} was made on store {run['store_id']}, this is "
                f"{catalog.store.store_id}. Select again on this store."
            )
        subset = _chosen(run_id, tables["selection"], weighted=weighted)
        arms.append(Arm(run_id, run["method"], _always(subset)))
        sizes.append(len(subset.rows))
    if random:
        (task,) = tasks
        arms += [Arm(f"random-{n}", "random", _draw(catalog, task, n)) for n in sorted({*sizes})]
    if full:
        arms.append(Arm(FULL, FULL, _always(_equal(np.flatnonzero(catalog.valid())))))
    return arms


def texts_of(catalog: Catalog, rows: np.ndarray, template: Template) -> list[Encoded]:
    """The samples in some rows of the store, as the model reads them, in that order."""
    wanted = pl.DataFrame({"row": rows}, schema={"row": pl.UInt32})
    pool = catalog.store.samples().with_row_index("row").select("row", *_TEXTS)
    found = pool.filter(pl.col("row").is_in(wanted["row"].implode())).collect()
    table = wanted.join(found, on="row", how="left", maintain_order="left")
    return [
        template.encode(_content(record, prompt, completion))
        for record, prompt, completion in table.select(*_TEXTS).iter_rows()
    ]


_TEXTS = ("record", "prompt", "completion")


def _content(record: str, prompt: str, completion: str) -> dict[str, Any]:
    """What is learned of a sample: its record as collected, else what an import made of it."""
    try:
        return content_of(record)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {"prompt": prompt, "completion": completion}


def _chosen(run_id: str, selection: pl.DataFrame, *, weighted: bool) -> Subset:
    selection = selection.sort("row")
    rows, weights = selection["row"].to_numpy(), selection["weight"].to_numpy().astype(np.float64)
    if not len(rows):
        raise RunError(f"run {run_id!r} has no samples to train on. Choose another run.")
    if not weighted:
        return _equal(rows)
    if not weights.sum() > 0:
        raise RunError(
            f"run {run_id!r} has no positive weight, so a weighted loss is zero. "
            "Train it without --weighted."
        )
    return Subset(rows, weights / weights.mean())


def _equal(rows: np.ndarray) -> Subset:
    return Subset(rows, np.ones(len(rows)))


def _always(subset: Subset) -> Callable[[int], Subset]:
    return lambda seed: subset


def _draw(catalog: Catalog, task: str, count: int) -> Callable[[int], Subset]:
    def drawn(seed: int) -> Subset:
        problem = pose(catalog, task)
        chosen = select(problem, count, method="random", settings=Settings(seed=seed))
        return _equal(np.sort(chosen.support))

    return drawn


def prompts_of(catalog: Catalog, subsets: Sequence[Subset]) -> list[str]:
    """The prompts of all samples in some subsets."""
    rows = np.unique(np.concatenate([subset.rows for subset in subsets]))
    pool = catalog.store.samples().with_row_index("row").select("row", "prompt")
    wanted = pl.Series(rows, dtype=pl.UInt32)
    return pool.filter(pl.col("row").is_in(wanted.implode())).collect()["prompt"].to_list()

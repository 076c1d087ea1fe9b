"""What is trained on: the subsets of runs, chance draws of the same size, and the whole pool."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import polars as pl

from gtp_core.atoms import Problem, pose, weighted_sums
from gtp_core.catalog import Catalog
from gtp_core.collect.encode import Encoded
from gtp_core.collect.pool import content_of
from gtp_core.collect.template import Template
from gtp_core.errors import RunError
from gtp_core.methods import Settings
from gtp_core.report import choose, cosine
from gtp_core.verify.telling import BASE, FULL


@dataclass(frozen=True)
class Subset:
    """Rows of the pool and how much each counts: weights (n,) of mean one.

    Attributes:
        judges: what is known of it before training: `residual_weighted`, `residual_as_trained` and
            `held_out_match`, each a number or None.
    """

    rows: np.ndarray
    weights: np.ndarray
    judges: Mapping[str, float | None] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 of both, so that a trial of another subset is never taken for one of this."""
        parts = (self.rows.astype("<i8").tobytes(), self.weights.astype("<f8").tobytes())
        return hashlib.sha256(b"".join(parts)).hexdigest()


@dataclass(frozen=True)
class Arm:
    """Something to train on, by a name that is also a file's.

    Attributes:
        subset: what it is with a seed; chance draws differ from seed to seed.
        run, budget: of a saved run; empty for chance draws and the whole pool.
        solved_weighted: whether its run gave its samples different weights.
    """

    name: str
    method: str
    subset: Callable[[int], Subset]
    run: str = ""
    budget: str = ""
    solved_weighted: bool = False


@dataclass(frozen=True)
class Wanted:
    """One trial: a seed, the samples and their arm; without both the model is asked as it is."""

    seed: int
    subset: Subset | None
    arm: Arm | None = None

    @property
    def name(self) -> str:
        """Of its arm."""
        return self.arm.name if self.arm else BASE

    @property
    def file(self) -> str:
        """Its name on disk, without an ending."""
        return f"{self.name}.seed-{self.seed}" if self.arm else self.name

    @property
    def digest(self) -> str:
        """Of the subset, by which a saved trial is known to be this one."""
        return self.subset.digest() if self.subset else ""

    def told(self) -> dict[str, Any]:
        """What a reader of the trial wants to know of its arm."""
        if self.arm is None or self.subset is None:
            return {"method": BASE, "run": None, "budget": None}
        named: dict[str, Any] = {"run": self.arm.run or None, "budget": self.arm.budget or None}
        named |= {"method": self.arm.method, "solved_weighted": self.arm.solved_weighted}
        return {**named, **self.subset.judges}


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
        arm = _of_run(run_id, run, tables["selection"], weighted=weighted)
        arms.append(arm)
        sizes.append(run["n_selected"])
    if random:
        draws = _Draws(catalog, *tasks)
        arms += [Arm(f"random-{n}", "random", partial(draws.of, n)) for n in sorted({*sizes})]
    if full:
        arms.append(Arm(FULL, FULL, _always(_whole(catalog, *tasks))))
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


def _of_run(run_id: str, run: Mapping[str, Any], selection: pl.DataFrame, *, weighted: bool) -> Arm:
    selection = selection.sort("row")
    rows, weights = selection["row"].to_numpy(), selection["weight"].to_numpy().astype(np.float64)
    if not len(rows):
        raise RunError(f"run {run_id!r} has no samples to train on. Choose another run.")
    if weighted and not weights.sum() > 0:
        raise RunError(
            f"run {run_id!r} has no positive weight, so a weighted loss is zero. "
            "Train it without --weighted."
        )
    judges = {name: run[name] for name in ("residual_weighted", "residual_as_trained")}
    judges["held_out_match"] = (run["held_out"] or {}).get("match")
    counted = weights / weights.mean() if weighted else np.ones(len(rows))
    return Arm(
        run_id,
        run["method"],
        _always(Subset(rows, counted, judges)),
        run=run_id,
        budget=str(run["budget"]),
        solved_weighted=not np.allclose(weights, weights[0], rtol=1e-6),
    )


def _always(subset: Subset) -> Callable[[int], Subset]:
    return lambda seed: subset


class _Draws:
    """Chance draws of a pool, another for every seed, judged by the task that is tested."""

    def __init__(self, catalog: Catalog, task: str) -> None:
        self._catalog, self._task = catalog, task

    @cached_property
    def _problem(self) -> Problem:
        return pose(self._catalog, self._task)

    def of(self, count: int, seed: int) -> Subset:
        """So many samples, ascending."""
        settings = Settings(seed=seed)
        chosen, held = choose(self._problem, count, method="random", settings=settings)
        rows = np.sort(chosen.support)
        judges = {
            "residual_weighted": chosen.residual_weighted,
            "residual_as_trained": chosen.residual_as_trained,
            "held_out_match": held.match if held else None,
        }
        return Subset(rows, np.ones(len(rows)), judges)


def _whole(catalog: Catalog, task: str) -> Subset:
    """Every usable sample, and how its plain sum matches the target: one pass over the atoms."""
    rows, problem = np.flatnonzero(catalog.valid()), pose(catalog, task)
    total = weighted_sums(problem.atoms, rows, np.ones((1, len(rows))))[0]
    along = max(cosine(total, problem.target), 0.0)
    left = float(np.sqrt(1 - along**2))
    matches = [cosine(total, rest) for _, rest in problem.parts]
    judges = {"residual_weighted": left, "residual_as_trained": left}
    return Subset(
        rows,
        np.ones(len(rows)),
        {**judges, "held_out_match": float(np.mean(matches)) if matches else None},
    )


def prompts_of(catalog: Catalog, rows: np.ndarray) -> list[str]:
    """The prompts of the samples in some rows."""
    pool = catalog.store.samples().with_row_index("row").select("row", "prompt")
    wanted = pl.Series(rows, dtype=pl.UInt32)
    return pool.filter(pl.col("row").is_in(wanted.implode())).collect()["prompt"].to_list()

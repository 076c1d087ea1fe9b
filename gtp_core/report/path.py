"""Residual and held-out match along the budgets: prepared once, then read."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.errors import BudgetError
from gtp_core.methods import OnRound, Settings, parse_budget, samples_of, used_settings
from gtp_core.pursuit import Round, Selection, Stop
from gtp_core.report.auto import Tuned
from gtp_core.report.identity import telling
from gtp_core.report.quality import HeldOut, choose
from gtp_core.store import Progress, write_json, written_whole

PATH_VERSION = 4
PATH_METHODS = ("gtp", "top-k", "random")
RANDOM_SEEDS = 10
MAX_PATH_SHARE = 0.1  # of the pool: where the budget path ends
MAX_PATH_BUDGET = 1000
LARGE_PATH_SHARE = 0.05  # of a large pool: where the path ends if that is more
_PLATEAU = 0.97  # of the best held-out match: where more samples stop helping
_KEEP = 10.0  # seconds of work that a kill may cost


def path_budgets(n_candidates: int, dim: int, count: int = 24) -> list[int]:
    """Log-spaced budgets from 5 samples to a tenth of the pool, at most `count` of them.

    No budget exceeds the length of an atom (more samples cannot be told apart), nor 1,000 or, in
    a large pool, a twentieth of it.
    """
    most = max(MAX_PATH_BUDGET, round(n_candidates * LARGE_PATH_SHARE))
    top = max(1, min(round(n_candidates * MAX_PATH_SHARE), dim, most))
    raw = np.geomspace(min(5, top), top, count)
    return sorted({int(budget) for budget in np.round(raw)})


def budget_path(
    problem: Problem,
    budgets: Sequence[int],
    settings: Settings,
    progress: Progress | None = None,
    *,
    known: pl.DataFrame | None = None,
    keep: Callable[[pl.DataFrame], None] | None = None,
) -> pl.DataFrame:
    """Residuals and held-out match of GTP, top-k and random at every budget.

    Args:
        problem: what to match.
        budgets: in samples.
        settings: of every selection.
        progress: called before each of them.
        known: rows that were made before; they are not made again.
        keep: given the rows so far from time to time.

    Returns:
        method, seed, budget, n_selected, residual_weighted, residual_as_trained, match, ceiling,
        splits, and for seed 0 the selection itself; random once per seed, the others once.
    """
    jobs = [(m, 0, b) for m in PATH_METHODS for b in budgets]
    jobs += [("random", seed, b) for seed in range(1, RANDOM_SEEDS) for b in budgets]
    rows = [] if known is None else known.to_dicts()
    done_before = {(row["method"], row["seed"], row["budget"]) for row in rows}
    kept = time.monotonic()
    for done, (method, seed, budget) in enumerate(jobs):
        if progress:
            progress(done, len(jobs), f"{method}, budget {budget:,}")
        if (method, seed, budget) in done_before:
            continue
        used = replace(settings, seed=settings.seed + seed)
        rows.append(_path_row(problem, budget, method, seed, used))
        if keep and time.monotonic() - kept > _KEEP:
            keep(_table(rows))
            kept = time.monotonic()
    place = {job: i for i, job in enumerate(jobs)}
    rows.sort(key=lambda row: place[row["method"], row["seed"], row["budget"]])
    return _table(rows)


def _table(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, infer_schema_length=None)


def _path_row(
    problem: Problem, budget: int, method: str, seed: int, settings: Settings
) -> dict[str, object]:
    selection, held = choose(problem, budget, method=method, settings=settings)
    row = _numbers(selection, held, seed)
    # Only the first draw is worth keeping whole: it is what the slider shows.
    return row | (_packed(selection) if seed == 0 else dict.fromkeys(_PACKED))


def _numbers(selection: Selection, held: HeldOut | None, seed: int) -> dict[str, object]:
    return {
        "method": selection.method,
        "seed": seed,
        "budget": selection.budget,
        "n_selected": len(selection.support),
        "residual_weighted": selection.residual_weighted,
        "residual_as_trained": selection.residual_as_trained,
        "match": held.match if held else None,
        "ceiling": held.ceiling if held else None,
        "splits": held.splits if held else None,
    }


_PACKED = ("support", "weights", "n_filled", "rounds", "pruned", "stop")


def _packed(selection: Selection) -> dict[str, object]:
    return {
        "support": selection.support.tolist(),
        "weights": selection.weights.tolist(),
        "n_filled": selection.n_filled,
        "rounds": [vars(round_) for round_ in selection.rounds],
        "pruned": selection.pruned.tolist(),
        "stop": selection.stop.name,
    }


def from_path(
    path: pl.DataFrame, problem: Problem, budget: str, method: str, settings: Settings
) -> tuple[Selection, HeldOut | None] | None:
    """What a method chose at a budget of a prepared path, and its held-out match; None if off it.

    The same bytes as solving again: the path was made by the same call.
    """
    if (count := samples_asked(problem, budget)) is None:
        return None
    rows = path.filter(
        (pl.col("method") == method) & (pl.col("seed") == 0) & (pl.col("budget") == count)
    )
    if rows.is_empty():
        return None
    return _unpacked(rows.row(0, named=True), used_settings(problem, budget, method, settings))


def _unpacked(row: dict[str, Any], settings: dict[str, Any]) -> tuple[Selection, HeldOut | None]:
    selection = Selection(
        method=row["method"],
        budget=row["budget"],
        support=np.array(row["support"], np.int64),
        weights=np.array(row["weights"], np.float64),
        n_filled=row["n_filled"],
        residual_weighted=row["residual_weighted"],
        residual_as_trained=row["residual_as_trained"],
        rounds=tuple(Round(**round_) for round_ in row["rounds"]),
        pruned=np.array(row["pruned"], np.int64),
        stop=Stop[row["stop"]],
        settings=settings,
    )
    if row["match"] is None:
        return selection, None
    return selection, HeldOut(row["match"], row["ceiling"], row["splits"])


def samples_asked(problem: Problem, budget: str) -> int | None:
    """The samples that a budget in samples or percent means; None for tokens, or for no budget."""
    try:
        if parse_budget(budget)[1] == "tok":
            return None
        count = samples_of(budget, len(problem.tokens), int(problem.atoms.candidates.sum()))
    except BudgetError:  # whoever solves it says what is wrong
        return None
    return min(count, problem.most) if budget.strip().endswith("%") else count


def saved_path(catalog: Catalog, problem: Problem, settings: Settings) -> pl.DataFrame | None:
    """The budget path of a problem if it was computed before, here or by whoever made the store."""
    name = f"{path_key(catalog, problem, settings)}.parquet"
    for folder in (catalog.workspace, catalog.store.folder):
        found = _read(folder / "paths" / name)
        if found is not None:
            return found
    return None


def prepare_path(
    catalog: Catalog,
    problem: Problem,
    settings: Settings,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """The budget path of a problem, computed once and kept in the workspace.

    Killed, it goes on where it was, but for the last seconds.
    """
    found = saved_path(catalog, problem, settings)
    if found is not None:
        return found
    path = catalog.workspace / "paths" / f"{path_key(catalog, problem, settings)}.parquet"
    begun = path.with_suffix(".begun")
    table = budget_path(
        problem,
        path_budgets(problem.most, problem.atoms.dim),
        settings,
        progress,
        known=_read(begun),
        keep=lambda rows: _write(rows, begun),
    )
    _write(table, path)
    begun.unlink(missing_ok=True)
    return table


def saved_choice(
    catalog: Catalog, problem: Problem, settings: Settings, budget: str, method: str
) -> tuple[Selection, HeldOut | None] | None:
    """What a method chose at one budget, if `prepare_choice` kept it."""
    table = _read(choice_file(catalog, problem, settings, budget, method))
    if table is None:
        return None
    row = table.row(0, named=True)
    return _unpacked(row, json.loads(row["settings"]))


def prepare_choice(
    catalog: Catalog,
    problem: Problem,
    settings: Settings,
    budget: str,
    method: str,
    on_round: OnRound | None = None,
) -> tuple[Selection, HeldOut | None]:
    """One selection and its held-out match as solving gives them, kept in the workspace."""
    found = saved_choice(catalog, problem, settings, budget, method)
    if found is None:
        found = choose(problem, budget, method=method, settings=settings, on_round=on_round)
        row = _numbers(*found, settings.seed) | _packed(found[0])
        table = _table([row | {"settings": json.dumps(found[0].settings)}])
        _write(table, choice_file(catalog, problem, settings, budget, method))
    return found


def choice_file(
    catalog: Catalog, problem: Problem, settings: Settings, budget: str, who: str
) -> Path:
    """Where one budget is kept, of a method or of a rule that chooses settings."""
    key = json.dumps([path_key(catalog, problem, settings), budget.strip(), who])
    name = hashlib.sha256(key.encode()).hexdigest()[:20]
    return catalog.workspace / "choices" / f"{name}.parquet"


def keep_tuned(found: Tuned, path: Path) -> None:
    """Write what a rule chose to a file that `kept_tuned` reads."""
    parts = {"settings": vars(found.settings), "held": vars(found.held)}
    write_json(path, {**parts, "scores": found.scores})


def kept_tuned(path: Path) -> Tuned | None:
    """What a rule chose before, or None without a file of it, or with a damaged one."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Tuned(Settings(**told["settings"]), HeldOut(**told["held"]), told["scores"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(table: pl.DataFrame, path: Path) -> None:
    with written_whole(path) as temporary:
        table.write_parquet(temporary, compression="zstd", compression_level=9)


def _read(path: Path) -> pl.DataFrame | None:
    """A table, or None where there is none or a damaged one: it is derived, and made again."""
    try:
        return pl.read_parquet(path, glob=False) if path.exists() else None
    except (OSError, pl.exceptions.PolarsError):
        return None


def path_key(catalog: Catalog, problem: Problem, settings: Settings) -> str:
    """The name under which a path is kept."""
    used = {"version": PATH_VERSION, "store": catalog.store.digest, **problem.settings}
    text = json.dumps(telling(used | vars(settings)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def enough(path: pl.DataFrame, method: str = "gtp") -> int | None:
    """The smallest budget that reaches 97 % of a method's best held-out match: where to stop."""
    rows = path.filter((pl.col("method") == method) & pl.col("match").is_not_null()).sort("budget")
    best = max(rows["match"].to_list(), default=0.0)
    if best <= 0:
        return None
    reached = rows.filter(pl.col("match") >= _PLATEAU * best)
    return int(reached["budget"][0])

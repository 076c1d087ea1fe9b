"""How good a selection is: reliability of the task, held-out match, and both along the budgets."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import polars as pl

from gtp_core.atoms import Problem, together, weighted_sums
from gtp_core.catalog import Catalog
from gtp_core.methods import Settings, parse_budget, select, used_settings
from gtp_core.methods.register import OnRound
from gtp_core.pursuit import Round, Selection, Stop
from gtp_core.report.identity import telling
from gtp_core.store import Progress, written_whole

PATH_VERSION = 2
PATH_METHODS = ("gtp", "top-k", "random")
RANDOM_SEEDS = 10
MAX_PATH_SHARE = 0.1  # of the pool: where the budget path ends
MAX_PATH_BUDGET = 1000
LARGE_PATH_SHARE = 0.05  # of a large pool: where the path ends if that is more
LOW_RELIABILITY = 0.5
_SIDE_BY_SIDE = 4e9  # bytes of rows that pursuits may keep at a time
_PLATEAU = 0.97  # of the best held-out match: where more samples stop helping


@dataclass(frozen=True)
class HeldOut:
    """How a selection fitted on one part of the validation examples matches the other part.

    Attributes:
        match: cosine of the fitted combination with the target of the other part, averaged.
        ceiling: cosine of the two parts' targets, averaged: what a perfect fit would reach.
        splits: number of fits.
    """

    match: float
    ceiling: float
    splits: int


@dataclass(frozen=True)
class Reliability:
    """How well two halves of a task's validation examples agree on its target.

    Attributes:
        split_half: mean cosine of the targets of two halves.
        full: reliability of the whole target, by Spearman-Brown: 2 r / (1 + r).
        doubled: what twice the examples would give.
        noise_floor: relative residual below which only noise is fitted: sqrt(1 - full).
        n_examples: validation examples used.
    """

    split_half: float
    full: float
    doubled: float
    noise_floor: float
    n_examples: int


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two vectors; 0 when one of them is zero."""
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > 0 else 0.0


def reliability(problem: Problem, n_examples: int) -> Reliability | None:
    """The reliability of a problem's target; None when it has a single example."""
    if not problem.splits:
        return None
    r = float(np.mean([cosine(split.fit, split.rest) for split in problem.splits]))
    full = spearman_brown(r, 2)
    floor = sqrt(1 - min(max(full, 0.0), 1.0))
    return Reliability(r, full, spearman_brown(r, 4), floor, n_examples)


def spearman_brown(split_half: float, factor: float) -> float:
    """Reliability with `factor` times the examples of a half (Spearman 1910, Brown 1910)."""
    r = min(max(split_half, 0.0), 1.0)
    return factor * r / (1 + (factor - 1) * r)


def combination(problem: Problem, selection: Selection) -> np.ndarray:
    """weights @ atoms[support], (dim,) float64."""
    return weighted_sums(problem.atoms, selection.support, selection.weights[None])[0]


def held_out(
    problem: Problem, budget: str | int, *, method: str, settings: Settings
) -> HeldOut | None:
    """Fit on each part of the validation examples, match the other; None without two examples."""
    fitted = together(
        [part for part, _ in problem.parts],
        lambda _, part: select(part, budget, method=method, settings=settings),
        at_once=_at_once(problem, budget),
    )
    return _matched(problem, fitted)


def choose(
    problem: Problem,
    budget: str | int,
    *,
    method: str,
    settings: Settings,
    on_round: OnRound | None = None,
) -> tuple[Selection, HeldOut | None]:
    """What `select` and `held_out` say, for the passes over the atoms of one of them.

    On a large store the selection and the fits of the parts run side by side, and a pass serves
    them all: the held-out match needs none of its own. Of what was cancelled nothing is held out.
    """
    chosen = together(
        [problem, *(part for part, _ in problem.parts)],
        lambda i, some: select(
            some, budget, method=method, settings=settings, on_round=None if i else on_round
        ),
        at_once=_at_once(problem, budget),
    )
    if chosen[0].stop is Stop.CANCELLED:
        return chosen[0], None
    return chosen[0], _matched(problem, chosen[1:])


def _matched(problem: Problem, fitted: Sequence[Selection]) -> HeldOut | None:
    if not fitted:
        return None
    matches, ceilings = [], []
    for (part, rest), selection in zip(problem.parts, fitted, strict=True):
        matches.append(cosine(combination(part, selection), rest))
        ceilings.append(cosine(part.target, rest))
    return HeldOut(float(np.mean(matches)), float(np.mean(ceilings)), len(matches))


def _at_once(problem: Problem, budget: str | int) -> int:
    """How many pursuits keep their rows in memory side by side."""
    amount, unit = parse_budget(budget)
    share = {"": 1.0, "%": len(problem.tokens) / 100, "tok": 1 / max(problem.tokens.mean(), 1)}
    rows = min(3 * amount * share[unit], problem.atoms.n_samples)
    return max(1, int(_SIDE_BY_SIDE // (2 * problem.atoms.dim * max(rows, 1))))


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
) -> pl.DataFrame:
    """Residuals and held-out match of GTP, top-k and random at every budget.

    Returns:
        method, seed, budget, n_selected, residual_weighted, residual_as_trained, match, ceiling,
        splits, and for seed 0 the selection itself; random once per seed, the others once.
    """
    jobs = [(m, 0, b) for m in PATH_METHODS for b in budgets]
    jobs += [("random", seed, b) for seed in range(1, RANDOM_SEEDS) for b in budgets]
    rows = []
    for done, (method, seed, budget) in enumerate(jobs):
        if progress:
            progress(done, len(jobs), f"{method}, budget {budget:,}")
        used = replace(settings, seed=settings.seed + seed)
        rows.append(_path_row(problem, budget, method, seed, used))
    return pl.DataFrame(rows, infer_schema_length=None)


def _path_row(
    problem: Problem, budget: int, method: str, seed: int, settings: Settings
) -> dict[str, object]:
    selection, held = choose(problem, budget, method=method, settings=settings)
    row: dict[str, object] = {
        "method": method,
        "seed": seed,
        "budget": budget,
        "n_selected": len(selection.support),
        "residual_weighted": selection.residual_weighted,
        "residual_as_trained": selection.residual_as_trained,
        "match": held.match if held else None,
        "ceiling": held.ceiling if held else None,
        "splits": held.splits if held else None,
    }
    # Only the first draw is worth keeping whole: it is what the slider shows.
    return row | (_packed(selection) if seed == 0 else dict.fromkeys(_PACKED))


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
    if not budget.isdecimal():
        return None
    rows = path.filter(
        (pl.col("method") == method) & (pl.col("seed") == 0) & (pl.col("budget") == int(budget))
    )
    if rows.is_empty():
        return None
    row = rows.row(0, named=True)
    selection = Selection(
        method=method,
        budget=row["budget"],
        support=np.array(row["support"], np.int64),
        weights=np.array(row["weights"], np.float64),
        n_filled=row["n_filled"],
        residual_weighted=row["residual_weighted"],
        residual_as_trained=row["residual_as_trained"],
        rounds=tuple(Round(**round_) for round_ in row["rounds"]),
        pruned=np.array(row["pruned"], np.int64),
        stop=Stop[row["stop"]],
        settings=used_settings(problem, budget, method, settings),
    )
    if row["match"] is None:
        return selection, None
    return selection, HeldOut(row["match"], row["ceiling"], row["splits"])


def saved_path(catalog: Catalog, problem: Problem, settings: Settings) -> pl.DataFrame | None:
    """The budget path of a problem if it was computed before, here or by whoever made the store."""
    name = f"{_path_key(catalog, problem, settings)}.parquet"
    for folder in (catalog.workspace, catalog.store.folder):
        path = folder / "paths" / name
        try:
            if path.exists():
                return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError):
            continue  # damaged: it is derived, so it is computed again
    return None


def prepare_path(
    catalog: Catalog,
    problem: Problem,
    settings: Settings,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """The budget path of a problem, computed once and kept in the workspace."""
    known = saved_path(catalog, problem, settings)
    if known is not None:
        return known
    budgets = path_budgets(problem.most, problem.atoms.dim)
    table = budget_path(problem, budgets, settings, progress)
    path = catalog.workspace / "paths" / f"{_path_key(catalog, problem, settings)}.parquet"
    with written_whole(path) as temporary:
        table.write_parquet(temporary, compression="zstd", compression_level=9)
    return table


def _path_key(catalog: Catalog, problem: Problem, settings: Settings) -> str:
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

"""The command `path`: every budget of the slider, or one, solved once for the app."""

import argparse
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.cli.choosing import posing_arguments, problem_of, settings_of
from gtp_core.cli.common import Answer, open_store_of, report_progress, store_argument
from gtp_core.errors import MethodError
from gtp_core.jobs import as_job
from gtp_core.methods import Settings, prepare_subspace
from gtp_core.pursuit import Round
from gtp_core.report import (
    ALIKE,
    AUTO,
    as_alike,
    choice_file,
    enough,
    keep_tuned,
    kept_tuned,
    path_key,
    prepare_choice,
    prepare_path,
    tuned,
)
from gtp_core.store import Progress

_BOTH = ("gtp", "top-k")


def path_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of `path`: those of `select`, but that budget and method may be left out."""
    store_argument(verb)
    posing_arguments(verb)
    verb.add_argument(
        "--budget", help="solve this one alone, whatever it is: 500, 5%% or 200000tok"
    )
    verb.add_argument(
        "--method", action="append", help=f"with --budget: by whom (default: {', '.join(_BOTH)})"
    )


def path(options: argparse.Namespace) -> Answer:
    """Prepare the budget path, or one budget, or say that it is there."""
    start = time.perf_counter()
    answer: dict[str, Any] = {}
    one = options.budget is not None

    def work(progress: Progress) -> None:
        settings, auto = settings_of(options)
        _check(options, auto)
        with closing(open_store_of(options)) as catalog:
            problem = problem_of(catalog, options, settings)
            prepare_subspace(problem, settings, progress)
            if one:
                answer.update(_one(catalog, problem, settings, options, progress))
            else:
                answer.update(_all(catalog, problem, settings, progress))

    as_job(work, report_progress)
    answer["seconds"] = round(time.perf_counter() - start, 3)
    return answer, _lines_of_one(answer) if one else _lines(answer)


def _check(options: argparse.Namespace, auto: tuple[str, ...]) -> None:
    """Refuse what has no single answer before the store is touched."""
    one = options.budget is not None
    if options.method and not one:
        raise MethodError("--method is for one budget. Give it with --budget, or leave it out.")
    if auto and not (one and auto == ("ridge",)):
        raise MethodError(
            f"{auto[0]} {getattr(options, auto[0])} may choose another value at every budget; "
            "a path has one. Give a number."
        )


def _all(
    catalog: Catalog, problem: Problem, settings: Settings, progress: Progress
) -> dict[str, Any]:
    table = prepare_path(catalog, problem, settings, progress)
    name = f"{path_key(catalog, problem, settings)}.parquet"
    return {
        "task": problem.settings["task"],
        "budgets": table["budget"].unique().sort().to_list(),
        "enough": enough(table),
        "file": str(catalog.workspace / "paths" / name),
    }


def _one(
    catalog: Catalog,
    problem: Problem,
    settings: Settings,
    options: argparse.Namespace,
    progress: Progress,
) -> dict[str, Any]:
    budget, start = options.budget, time.monotonic()
    if options.ridge in (ALIKE, AUTO):
        settings = _tuned(catalog, problem, settings, options, progress)
    chosen = {}
    for method in options.method or _BOTH:
        heard = _telling(progress, method, start)
        selection, held = prepare_choice(catalog, problem, settings, budget, method, heard)
        chosen[method] = {
            "n_selected": len(selection.support),
            "residual_weighted": selection.residual_weighted,
            "match": held.match if held else None,
        }
    return {"task": problem.settings["task"], "budget": budget, "chosen": chosen}


def _telling(progress: Progress, method: str, start: float) -> Callable[[Round], None]:
    """Tells of every round, and in further lines of those before it; nobody knows the total."""
    name = "GTP" if method == "gtp" else method
    told = [f"{name}: the gradients are read for the first time"]
    progress(0, 0, told[0])

    def heard(round_: Round) -> None:
        after = time.monotonic() - start
        said = f"{name}, round {len(told)}: residual {round_.residual:.3f} after {after:.0f} s"
        told.insert(0, said)
        progress(0, 0, "\n".join(told))

    return heard


def _tuned(
    catalog: Catalog,
    problem: Problem,
    settings: Settings,
    options: argparse.Namespace,
    progress: Progress,
) -> Settings:
    """Settings with the ridge that the rule chooses at this budget for `gtp`, kept."""
    file = choice_file(catalog, problem, settings, options.budget, options.ridge)
    file = file.with_suffix(".json")
    found = kept_tuned(file)
    if found is None:
        by_rule = as_alike if options.ridge == ALIKE else tuned
        found = by_rule(problem, options.budget, method="gtp", settings=settings, progress=progress)
        keep_tuned(found, file)
    return found.settings


def _lines(answer: dict[str, Any]) -> list[str]:
    budgets, stop = answer["budgets"], answer["enough"]
    lines = [f"{len(budgets)} budgets from {budgets[0]:,} to {budgets[-1]:,} are prepared"]
    if stop is not None:
        lines.append(f"{stop:,} samples reach 97 % of the best held-out match")
    return [*lines, f"{answer['file']} ({answer['seconds']:.2f} s)"]


def _lines_of_one(answer: dict[str, Any]) -> list[str]:
    lines = []
    for method, found in answer["chosen"].items():
        match = "not known" if found["match"] is None else f"{found['match']:.3f}"
        residual = found["residual_weighted"]
        lines.append(
            f"{method}: {found['n_selected']:,} samples, residual {residual:.4f}, "
            f"held-out match {match}"
        )
    return [*lines, f"kept for the app ({answer['seconds']:.2f} s)"]

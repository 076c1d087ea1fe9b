"""The command `path`: every budget of the slider, solved once."""

import argparse
import time
from contextlib import closing
from typing import Any

from gtp_core.cli.choosing import posing_arguments, problem_of, settings_of
from gtp_core.cli.common import Answer, open_store_of, report_progress, store_argument
from gtp_core.errors import MethodError
from gtp_core.jobs import as_job
from gtp_core.methods import prepare_subspace
from gtp_core.report import enough, path_key, prepare_path
from gtp_core.store import Progress


def path_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of `path`: those of `select` but for budget and method."""
    store_argument(verb)
    posing_arguments(verb)


def path(options: argparse.Namespace) -> Answer:
    """Prepare the budget path, or say that it is there."""
    start = time.perf_counter()
    answer: dict[str, Any] = {}

    def work(progress: Progress) -> None:
        settings, auto = settings_of(options)
        if auto:
            raise MethodError(
                f"{auto[0]} {getattr(options, auto[0])} may choose another value at every budget; "
                "a path has one. Give a number."
            )
        with closing(open_store_of(options)) as catalog:
            problem = problem_of(catalog, options, settings)
            prepare_subspace(problem, settings, progress)
            table = prepare_path(catalog, problem, settings, progress)
            name = f"{path_key(catalog, problem, settings)}.parquet"
            answer.update(
                task=problem.settings["task"],
                budgets=table["budget"].unique().sort().to_list(),
                enough=enough(table),
                file=str(catalog.workspace / "paths" / name),
            )

    as_job(work, report_progress)
    answer["seconds"] = round(time.perf_counter() - start, 3)
    return answer, _lines(answer)


def _lines(answer: dict[str, Any]) -> list[str]:
    budgets, stop = answer["budgets"], answer["enough"]
    lines = [f"{len(budgets)} budgets from {budgets[0]:,} to {budgets[-1]:,} are prepared"]
    if stop is not None:
        lines.append(f"{stop:,} samples reach 97 % of the best held-out match")
    return [*lines, f"{answer['file']} ({answer['seconds']:.2f} s)"]

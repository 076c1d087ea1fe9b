"""The commands about saved runs: several side by side, and the files of one."""

import argparse
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from gtp_core.atoms import Problem, pose
from gtp_core.catalog import Catalog
from gtp_core.cli.common import Answer, open_store_of, store_argument
from gtp_core.errors import RunError
from gtp_core.export import FORMATS, ORDERS, export_run
from gtp_core.report import MOST_COMPARED, Contestant, compare, contrasted, from_run


def compare_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of `compare`."""
    store_argument(verb)
    verb.add_argument("runs", metavar="RUN", nargs="+", help="ids of two to four saved runs")
    verb.add_argument(
        "--spread",
        action="store_true",
        help="fit every run anew on parts of the examples, also where that takes a while, and say "
        "whether matches differ by more than over the parts",
    )


def compare_runs(options: argparse.Namespace) -> Answer:
    """Two to four saved runs side by side, judged by the task and in the geometry of the first."""
    if not 2 <= len(options.runs) <= MOST_COMPARED:
        raise RunError(
            f"{len(options.runs)} runs to compare; give two to {MOST_COMPARED} ids of saved runs."
        )
    catalog = open_store_of(options)
    documents = [catalog.read_run(run_id)[0] for run_id in options.runs]
    problem = _problem_of(catalog, documents)
    names = [f"{x} ({run['method']})" for x, run in zip("ABCD", documents, strict=False)]
    found = [
        from_run(catalog, problem, run_id, name=name, refit=options.spread or None)
        for run_id, name in zip(options.runs, names, strict=True)
    ]
    pairs = zip(documents, found, strict=True)
    sides = [{"run": document, "support": one.support} for document, one in pairs]
    answer = compare(catalog, problem, *sides) | contrasted(catalog, problem, found)
    return answer, _lines(answer, found)


_ROWS: tuple[str, ...] = ("run", "method", "task", "budget", "n_selected", "residual_weighted")
_ROWS += ("residual_as_trained", "redundancy", "text_duplicates")


def _lines(answer: dict[str, Any], found: Sequence[Contestant]) -> list[str]:
    """The comparison for people: a column a run, who shares what, sources, and the sentences."""
    letters = "abcd"[: len(found)]
    sides = [answer[letter] for letter in letters]
    lines = [_row("", *letters.upper())]
    lines += [_row(key, *(side[key] for side in sides)) for key in _ROWS]
    lines.append(_row("held_out_match", *((s["held_out"] or {}).get("match") for s in sides)))
    if answer["notes"]:
        lines.append(f"judged by {answer['judged_by']}:")
        judged = [one.selection for one in found]
        lines.append(_row("  residual_weighted", *(one.residual_weighted for one in judged)))
        lines.append(_row("  residual_as_trained", *(one.residual_as_trained for one in judged)))
        lines.append(_row("  held_out_match", *(one.held and one.held.match for one in found)))
    for (x, y), shared in zip(combinations(letters.upper(), 2), answer["overlaps"], strict=True):
        lines.append(
            f"in both {shared['both']:,}; only {x} {shared['only_a']:,}; "
            f"only {y} {shared['only_b']:,}; Jaccard {shared['jaccard']:.3f}"
        )
    for source in answer["sources"]:
        shares = "".join(f", {letter.upper()} {source[letter]:.1%}" for letter in letters)
        lines.append(f"source {source['source']}: pool {source['pool']:.1%}{shares}")
    return [*lines, *answer["sentences"], *answer["notes"]]


def _row(key: str, *values: Any) -> str:
    texts = [f"{v:.4f}" if isinstance(v, float) else str(v) for v in values]
    return f"{key:24}" + "".join(f" {text:>15}" for text in texts)


def _problem_of(catalog: Catalog, runs: Sequence[dict[str, Any]]) -> Problem:
    """What the first run was asked; one saved before a setting existed does not name it.

    Its examples are halved as for the first run that has halves: lists are saved without.
    """
    settings = runs[0]["settings"]
    halved = next((run["settings"] for run in runs if run["settings"]["n_splits"]), settings)
    return pose(
        catalog,
        runs[0]["task"],
        common_direction=settings["common_direction"],
        n_splits=halved["n_splits"],
        seed=halved["split_seed"],
        **{name: settings[name] for name in _ASKED if name in settings},
    )


_ASKED = ("gradients", "checkpoints", "subtask_weights", "where", "pins", "bans", "caps")


def export_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of `export`."""
    store_argument(verb)
    verb.add_argument("run_id", metavar="RUN", help="id of a saved run")
    verb.add_argument("--format", default="jsonl", help=f"one of {', '.join(FORMATS)}")
    verb.add_argument("--out", required=True, help="file to write; the receipt goes beside it")
    verb.add_argument("--order", default="rank", help=f"one of {', '.join(ORDERS)}")
    verb.add_argument("--weights", action="store_true", help="add each sample's weight")
    verb.add_argument("--overwrite", action="store_true", help="replace an existing file")


def export(options: argparse.Namespace) -> Answer:
    """Write a run's samples and its receipt."""
    receipt = export_run(
        open_store_of(options),
        options.run_id,
        options.out,
        file_format=options.format,
        order=options.order,
        weights=options.weights,
        overwrite=options.overwrite,
    )
    return receipt, [f"{receipt['rows']:,} samples written to {options.out}"]

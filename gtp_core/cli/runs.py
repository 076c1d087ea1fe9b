"""The commands about saved runs: two side by side, and the files of one."""

import argparse
from typing import Any

from gtp_core.atoms import Problem, pose
from gtp_core.catalog import Catalog
from gtp_core.cli.common import Answer, open_store_of, store_argument
from gtp_core.errors import RunError
from gtp_core.export import FORMATS, ORDERS, export_run
from gtp_core.report import compare


def compare_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of `compare`."""
    store_argument(verb)
    verb.add_argument("runs", metavar="RUN", nargs=2, help="id of a saved run")


def compare_runs(options: argparse.Namespace) -> Answer:
    """Two saved runs side by side."""
    catalog = open_store_of(options)
    sides: list[dict[str, Any]] = []
    for run_id in options.runs:
        run, tables = catalog.read_run(run_id)
        if run["store_digest"] != catalog.store.digest:
            raise RunError(f"run {run_id!r} was made on another store ({run['store_id']}).")
        sides.append({"run": run, "support": tables["selection"]["row"].to_numpy()})
    answer = compare(catalog, _problem_of(catalog, sides[0]["run"]), *sides)
    shared = answer["overlap"]
    lines = [f"{'':24}{'A':>16}{'B':>16}"]
    for key in ("run", "method", "task", "budget", "n_selected", "residual_weighted"):
        lines.append(_row(key, answer["a"][key], answer["b"][key]))
    for key in ("residual_as_trained", "redundancy", "text_duplicates"):
        lines.append(_row(key, answer["a"][key], answer["b"][key]))
    matches = [(answer[side]["held_out"] or {}).get("match") for side in "ab"]
    lines.append(_row("held_out_match", *matches))
    lines.append(
        f"in both {shared['both']:,}; only A {shared['only_a']:,}; "
        f"only B {shared['only_b']:,}; Jaccard {shared['jaccard']:.3f}"
    )
    lines += [
        f"source {s['source']}: pool {s['pool']:.1%}, A {s['a']:.1%}, B {s['b']:.1%}"
        for s in answer["sources"]
    ]
    return answer, lines


def _row(key: str, a: Any, b: Any) -> str:
    texts = [f"{v:.4f}" if isinstance(v, float) else str(v) for v in (a, b)]
    return f"{key:24}{texts[0]:>16}{texts[1]:>16}"


def _problem_of(catalog: Catalog, run: dict[str, Any]) -> Problem:
    """The geometry of a run; one that was saved before a setting existed does not name it."""
    settings = run["settings"]
    return pose(
        catalog,
        run["task"],
        common_direction=settings["common_direction"],
        gradients=settings.get("gradients", "unit"),
        checkpoints=settings.get("checkpoints", {}),
        n_splits=0,
    )


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

"""The commands: `python -m gtp_core VERB`. Exit 0; 2 for what the user can mend; 1 for a bug."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from gtp_core.atoms import Problem, pose
from gtp_core.catalog import Catalog, open_catalog
from gtp_core.errors import ExportError, GTPError, RunError
from gtp_core.export import FORMATS, ORDERS, export_run
from gtp_core.methods import FILLS, METHODS, Settings, label, select
from gtp_core.pursuit import Round, Stop
from gtp_core.report import checks, compare, held_out, save, store_facts

_ROOT = Path(__file__).resolve().parent.parent
DEMO = _ROOT / "data" / "demo"


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one sentence, not a screen of usage."""

    def error(self, message: str) -> NoReturn:
        raise GTPError(f"{message}. See `{self.prog} --help`.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    try:
        options = _parser().parse_args(arguments)
        answer, lines = options.run(options)
        print(json.dumps(answer, ensure_ascii=False) if options.json else "\n".join(lines))
        sys.stdout.flush()
    except GTPError as error:
        print(f"gtp: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gtp: interrupted; nothing was left half-made.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


Answer = tuple[dict[str, Any], list[str]]


def _parser() -> _Parser:
    parser = _Parser(prog="python -m gtp_core", description="Choose fine-tuning samples jointly.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (help_text, arguments, run) in VERBS.items():
        verb = verbs.add_parser(name, help=help_text, description=help_text)
        arguments(verb)
        verb.add_argument("--json", action="store_true", help="print one JSON document")
        verb.set_defaults(run=run)
    return parser


def _store_argument(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="STORE", help="folder of a gradient store")
    verb.add_argument("--workspace", help="where to keep runs and the catalog (default: the store)")


def _inspect_arguments(verb: argparse.ArgumentParser) -> None:
    _store_argument(verb)
    verb.add_argument("--verify", action="store_true", help="read every byte, compare checksums")
    verb.add_argument("--sql", metavar="QUERY", help="run one SELECT on the catalog and print it")


def _inspect(options: argparse.Namespace) -> Answer:
    catalog = _open(options)
    if options.sql:
        table = catalog.ask(options.sql)
        return {"columns": table.columns, "rows": _plain(table.rows())}, [str(table)]
    facts = store_facts(catalog)
    if options.verify:
        facts["verified_files"] = catalog.store.verify(_progress)
    found = checks(facts)
    facts["checks"] = [vars(check) for check in found]
    gradients, projection = facts["gradients"], facts["projection"]
    lines = [
        f"{facts['store_id']}: {facts['n_samples']:,} samples x {len(facts['checkpoints'])} "
        f"checkpoints x {facts['dim']:,} dimensions, {facts['bytes'] / 1e6:,.1f} MB",
        f"gradients: {gradients['samples']} (samples), {gradients['tasks']} (tasks); "
        f"projection: {projection.get('type')} from {projection.get('input_dim')}",
        *(f"task {t['task']}: {t['n_examples']} examples" for t in facts["tasks"]),
        *(f"{_MARK[check.level]} {check.text}" for check in found),
    ]
    if options.verify:
        lines.append(f"{_MARK['ok']} {facts['verified_files']} files have the right checksum.")
    return facts, lines


_MARK = {"ok": "[ok]", "warning": "[!]", "problem": "[x]"}


def _select_arguments(verb: argparse.ArgumentParser) -> None:
    _store_argument(verb)
    methods = "; ".join(f"{name}: {label(name)}" for name in METHODS)
    verb.add_argument("--task", required=True, help="validation task to match")
    verb.add_argument("--budget", required=True, help="500, 5%% or 200000tok")
    verb.add_argument("--method", default="gtp", help=methods)
    verb.add_argument("--ridge", type=float, default=Settings.ridge, help="0 chooses together")
    verb.add_argument("--max-rounds", type=int, default=Settings.max_rounds)
    verb.add_argument("--fill", default=Settings.fill, help=f"one of {', '.join(FILLS)}")
    verb.add_argument("--common-direction", default="removed", help="removed or kept")
    verb.add_argument("--where", metavar="SQL", help="only samples that meet this condition")
    verb.add_argument("--pin", metavar="FILE", help="sample ids that must be chosen, one a line")
    verb.add_argument("--ban", metavar="FILE", help="sample ids that must not be, one a line")
    verb.add_argument("--seed", type=int, default=Settings.seed)
    verb.add_argument(
        "--ignore-edits", action="store_true", help="leave pins and bans of the edit log aside"
    )


def _select(options: argparse.Namespace) -> Answer:
    catalog = _open(options)
    start = time.perf_counter()
    edits = [] if options.ignore_edits else catalog.edits()
    pins = _ids(options.pin) + [e.sample_id for e in edits if e.what == "pin"]
    bans = _ids(options.ban) + [e.sample_id for e in edits if e.what == "ban"]
    problem = pose(
        catalog,
        options.task,
        common_direction=options.common_direction,
        where=options.where,
        pins=pins,
        bans=bans,
        seed=options.seed,
    )
    settings = Settings(
        ridge=options.ridge, max_rounds=options.max_rounds, fill=options.fill, seed=options.seed
    )
    budget, name = options.budget, options.method
    selection = select(problem, budget, method=name, settings=settings, on_round=_print_round)
    held = held_out(problem, budget, method=name, settings=settings)
    run = save(catalog, problem, selection, held)
    answer = {
        **run,
        "sample_ids": catalog.sample_ids().gather(selection.support).to_list(),
        "weights": selection.weights.tolist(),
        "seconds": round(time.perf_counter() - start, 3),
    }
    return answer, _select_lines(answer, selection.stop)


def _select_lines(answer: dict[str, Any], stop: Stop) -> list[str]:
    held = answer["held_out"]
    match = (
        f"{held['match']:.3f} of a ceiling of {held['ceiling']:.3f} over {held['splits']} fits"
        if held
        else "not known: the task has fewer than two examples"
    )
    return [
        f"run {answer['run']}",
        f"chosen {answer['n_selected']:,} of budget {answer['budget']} "
        f"({answer['n_filled']:,} filled)",
        f"residual {answer['residual_weighted']:.4f} weighted, "
        f"{answer['residual_as_trained']:.4f} as trained",
        f"held-out match {match}",
        f"{stop} ({answer['seconds']:.2f} s)",
    ]


def _compare_arguments(verb: argparse.ArgumentParser) -> None:
    _store_argument(verb)
    verb.add_argument("runs", metavar="RUN", nargs=2, help="id of a saved run")


def _compare(options: argparse.Namespace) -> Answer:
    catalog = _open(options)
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
    direction = run["settings"]["common_direction"]
    return pose(catalog, run["task"], common_direction=direction, n_splits=0)


def _export_arguments(verb: argparse.ArgumentParser) -> None:
    _store_argument(verb)
    verb.add_argument("run_id", metavar="RUN", help="id of a saved run")
    verb.add_argument("--format", default="jsonl", help=f"one of {', '.join(FORMATS)}")
    verb.add_argument("--out", required=True, help="file to write; the receipt goes beside it")
    verb.add_argument("--order", default="rank", help=f"one of {', '.join(ORDERS)}")
    verb.add_argument("--weights", action="store_true", help="add each sample's weight")
    verb.add_argument("--overwrite", action="store_true", help="replace an existing file")


def _export(options: argparse.Namespace) -> Answer:
    receipt = export_run(
        _open(options),
        options.run_id,
        options.out,
        file_format=options.format,
        order=options.order,
        weights=options.weights,
        overwrite=options.overwrite,
    )
    return receipt, [f"{receipt['rows']:,} samples written to {options.out}"]


def _demo_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--out", default=str(DEMO), help="where to build it (default: data/demo)")
    verb.add_argument("--seed", type=int, default=0)


def _demo(options: argparse.Namespace) -> Answer:
    from gtp_core.demo.build import build_demo

    start = time.perf_counter()
    store = build_demo(options.out, seed=options.seed, progress=_progress)
    seconds = round(time.perf_counter() - start, 1)
    answer = {"store": str(options.out), "store_id": store.store_id, "seconds": seconds}
    return answer, [f"{store.store_id} built in {options.out} in {seconds:.0f} s"]


def _serve_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="STORE", nargs="?", help="folder of a gradient store")
    verb.add_argument("--workspace", help="where to keep runs and the catalog")
    verb.add_argument("--port", type=int, default=8501)


def _serve(options: argparse.Namespace) -> Answer:
    environment = dict(os.environ)
    if options.store:
        _open(options).close()  # refuse here, in one sentence, what cannot be opened
        environment["GTP_STORE"] = str(Path(options.store).resolve())
    if options.workspace:
        environment["GTP_WORKSPACE"] = str(Path(options.workspace).resolve())
    command = [sys.executable, "-m", "streamlit", "run", str(_ROOT / "app.py")]
    command += ["--server.port", str(options.port)]
    status = subprocess.call(command, env=environment, cwd=_ROOT)
    if status not in (0, 130, -2):
        raise GTPError(f"the app ended with status {status}; its own message stands above.")
    return {"status": status}, ["the app has ended"]


def _open(options: argparse.Namespace) -> Catalog:
    return open_catalog(options.store, workspace=options.workspace, progress=_progress)


def _ids(path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        # At newlines only: `splitlines` also breaks an id at U+2028.
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError):
        raise ExportError(f"{path} cannot be read; give a text file of sample ids.") from None
    return [line.strip() for line in lines if line.strip()]


def _plain(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows as plain JSON types; NaN and the infinities, which JSON lacks, become null."""
    return json.loads(json.dumps(rows, default=str), parse_constant=lambda _: None)


def _print_round(round_: Round) -> None:
    if sys.stderr.isatty():
        print(f"residual {round_.residual:.4f}", file=sys.stderr)


def _progress(done: int, total: int, what: str) -> None:
    if sys.stderr.isatty():
        end = "\n" if done >= total else "\r"
        print(f"\x1b[2K{done}/{total} {what}", end=end, file=sys.stderr, flush=True)


Verb = tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], Answer]]
VERBS: dict[str, Verb] = {
    "demo": ("rebuild the bundled demo store from nothing", _demo_arguments, _demo),
    "inspect": ("say what is in a store, and its health", _inspect_arguments, _inspect),
    "select": ("choose samples and save the run", _select_arguments, _select),
    "compare": ("put two runs side by side", _compare_arguments, _compare),
    "export": ("write a run's samples and a receipt", _export_arguments, _export),
    "serve": ("open the app on a store", _serve_arguments, _serve),
}

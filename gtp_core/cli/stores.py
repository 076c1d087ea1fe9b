"""The commands about a whole store: what is in it, the demo, and the app."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gtp_core.cli.common import Answer, open_store_of, report_progress, store_argument
from gtp_core.errors import GTPError
from gtp_core.report import checks, store_facts

_ROOT = Path(__file__).resolve().parents[2]
DEMO = _ROOT / "data" / "demo"


def inspect_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of `inspect`."""
    store_argument(verb)
    verb.add_argument("--verify", action="store_true", help="read every byte, compare checksums")
    verb.add_argument("--sql", metavar="QUERY", help="run one SELECT on the catalog and print it")


def inspect(options: argparse.Namespace) -> Answer:
    """What is in a store and its health, or the answer to a query."""
    catalog = open_store_of(options)
    if options.sql:
        table = catalog.ask(options.sql)
        return {"columns": table.columns, "rows": _plain(table.rows())}, [str(table)]
    facts = store_facts(catalog)
    if options.verify:
        facts["verified_files"] = catalog.store.verify(report_progress)
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


def _plain(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows as plain JSON types; NaN and the infinities, which JSON lacks, become null."""
    return json.loads(json.dumps(rows, default=str), parse_constant=lambda _: None)


def demo_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of `demo`."""
    verb.add_argument("--out", default=str(DEMO), help="where to build it (default: data/demo)")
    verb.add_argument("--seed", type=int, default=0)


def demo(options: argparse.Namespace) -> Answer:
    """Build the demo store."""
    from gtp_core.demo.build import build_demo

    start = time.perf_counter()
    store = build_demo(options.out, seed=options.seed, progress=report_progress)
    seconds = round(time.perf_counter() - start, 1)
    answer = {"store": str(options.out), "store_id": store.store_id, "seconds": seconds}
    return answer, [f"{store.store_id} built in {options.out} in {seconds:.0f} s"]


def serve_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of `serve`."""
    verb.add_argument("store", metavar="STORE", nargs="?", help="folder of a gradient store")
    verb.add_argument("--workspace", help="where to keep runs and the catalog")
    verb.add_argument("--port", type=int, default=8501)


def serve(options: argparse.Namespace) -> Answer:
    """Run the app on a store until it ends."""
    environment = dict(os.environ)
    if options.store:
        open_store_of(options).close()  # refuse here, in one sentence, what cannot be opened
        environment["GTP_STORE"] = str(Path(options.store).resolve())
    if options.workspace:
        environment["GTP_WORKSPACE"] = str(Path(options.workspace).resolve())
    command = [sys.executable, "-m", "streamlit", "run", str(_ROOT / "app.py")]
    command += ["--server.port", str(options.port)]
    status = subprocess.call(command, env=environment, cwd=_ROOT)
    if status not in (0, 130, -2):
        raise GTPError(f"the app ended with status {status}; its own message stands above.")
    return {"status": status}, ["the app has ended"]

"""The command `import`: look at a foreign store, say what is in it, write it as one of ours."""

import argparse
import inspect
import re
import time
from dataclasses import fields
from typing import Any

from gtp_core.cli.common import Answer, report_progress
from gtp_core.errors import SourceError
from gtp_core.importers import IMPORTERS, Asked, Plan, import_store, label, survey

_WHOLE = ("dim", "projection_seed", "input_dim")


def import_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of `import`: one option per field of Asked, in the words of its docstring."""
    formats = "; ".join(f"{name}: {label(name)}" for name in IMPORTERS)
    verb.add_argument("format", metavar="FORMAT", help=formats.replace("%", "%%"))
    verb.add_argument("source", metavar="SOURCE", help="folder of the foreign store; only read")
    verb.add_argument("--out", metavar="STORE", help="folder to make; needed unless --preview")
    verb.add_argument("--preview", action="store_true", help="say what was found, write nothing")
    for field in fields(Asked):
        flag = f"--{field.name.replace('_', '-')}"
        verb.add_argument(flag, **_option(field.name, field.default))


def _option(name: str, default: Any) -> dict[str, Any]:
    told = re.search(
        rf"^    {name}: (.+?)(?=\n    \S|\Z)", inspect.getdoc(Asked) or "", re.M | re.S
    )
    words = " ".join(told[1].split()).rstrip(".").replace("%", "%%") if told else ""
    if isinstance(default, tuple):
        return {"action": "append", "default": None, "metavar": name.upper(), "help": words}
    kind = int if name in _WHOLE else str
    return {"type": kind, "default": default, "metavar": name.upper(), "help": words}


def asked_of(options: argparse.Namespace) -> Asked:
    """What the user says of the source, from the command's options."""
    told: dict[str, Any] = {field.name: getattr(options, field.name) for field in fields(Asked)}
    lists = {name: tuple(value) for name, value in told.items() if isinstance(value, list)}
    return Asked(**{name: v for name, v in (told | lists).items() if v is not None})


def import_foreign(options: argparse.Namespace) -> Answer:
    """Find what is in a foreign store and, unless asked to stop there, write it as a store."""
    if not options.out and not options.preview:
        raise SourceError("--out is missing. Say where the store goes, or pass --preview.")
    start = time.perf_counter()
    plan = survey(options.format, options.source, asked_of(options))
    answer = _facts(plan)
    if options.preview:
        return answer, plan.lines()
    store = import_store(plan, options.out, progress=report_progress)
    seconds = round(time.perf_counter() - start, 2)
    notes = store.manifest.producer["notes"]
    answer |= {"store": str(options.out), "store_id": store.store_id, "seconds": seconds}
    answer |= {"notes": notes, "invalid": store.manifest.invalid}
    flagged = [f"{n:,} samples with a {why} gradient" for why, n in answer["invalid"].items() if n]
    lines = [*plan.lines(), *(note for note in notes if note not in plan.notes), *flagged]
    return answer, [*lines, f"{store.store_id} written to {options.out} in {seconds:.1f} s"]


def _facts(plan: Plan) -> dict[str, Any]:
    return {
        "format": plan.format,
        "n_samples": plan.samples.rows,
        "files": [{"name": name, "rows": rows} for name, rows in plan.samples.files],
        "dim": plan.dim,
        "checkpoints": [vars(checkpoint) for checkpoint in plan.checkpoints],
        "tasks": [
            {"task": t.name, "examples": t.examples.height, "subtasks": _subtasks(t.examples)}
            for t in plan.tasks
        ],
        "gradients": dict(plan.kinds),
        "projection": dict(plan.projection),
        "model": dict(plan.model),
        "declared": dict(plan.declared),
        "unsaid": list(plan.unsaid),
        "notes": list(plan.notes),
        "bytes": plan.bytes_out,
    }


def _subtasks(examples: Any) -> list[str]:
    return examples["subtask"].unique(maintain_order=True).to_list()

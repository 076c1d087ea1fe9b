"""The command `import`: look at a foreign store, say what is in it, write it as one of ours."""

import argparse
import time
from typing import Any

from gtp_core.cli.common import Answer, report_progress
from gtp_core.errors import SourceError
from gtp_core.importers import (
    IMPORTERS,
    WHOLE_NUMBERS,
    Asked,
    Plan,
    import_store,
    label,
    options,
    survey,
    takes_several,
)


def import_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of `import`: one option per field of Asked, in the words of its docstring."""
    formats = "; ".join(f"{name}: {label(name)}" for name in IMPORTERS)
    verb.add_argument("format", metavar="FORMAT", help=formats.replace("%", "%%"))
    verb.add_argument("source", metavar="SOURCE", help="folder of the foreign store; only read")
    verb.add_argument("--out", metavar="STORE", help="folder to make; needed unless --preview")
    verb.add_argument("--preview", action="store_true", help="say what was found, write nothing")
    for name, words in options().items():
        verb.add_argument(f"--{name.replace('_', '-')}", **_option(name, words))


def _option(name: str, words: str) -> dict[str, Any]:
    text = words.replace("%", "%%")
    if takes_several(name):
        return {"action": "append", "metavar": name.upper(), "help": text}
    kind = int if name in WHOLE_NUMBERS else str
    default = getattr(Asked(), name)
    return {"type": kind, "default": default, "metavar": name.upper(), "help": text}


def asked_of(told_of: argparse.Namespace) -> Asked:
    """What the user says of the source, from the command's options."""
    told: dict[str, Any] = {name: getattr(told_of, name) for name in options()}
    lists = {name: tuple(value) for name, value in told.items() if isinstance(value, list)}
    return Asked(**{name: v for name, v in (told | lists).items() if v is not None})


def import_foreign(told: argparse.Namespace) -> Answer:
    """Find what is in a foreign store and, unless asked to stop there, write it as a store."""
    if not told.out and not told.preview:
        raise SourceError("--out is missing. Say where the store goes, or pass --preview.")
    start = time.perf_counter()
    plan = survey(told.format, told.source, asked_of(told))
    answer = _facts(plan)
    if told.preview:
        return answer, plan.lines()
    store = import_store(plan, told.out, progress=report_progress)
    seconds = round(time.perf_counter() - start, 2)
    notes = store.manifest.producer["notes"]
    answer |= {"store": str(told.out), "store_id": store.store_id, "seconds": seconds}
    answer |= {"notes": notes, "invalid": store.manifest.invalid}
    flagged = [f"{n:,} samples with a {why} gradient" for why, n in answer["invalid"].items() if n]
    lines = [*plan.lines(), *(note for note in notes if note not in plan.notes), *flagged]
    return answer, [*lines, f"{store.store_id} written to {told.out} in {seconds:.1f} s"]


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

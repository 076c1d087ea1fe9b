"""The command `collect`: a model and a pool become a store."""

import argparse
import inspect
import re
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from gtp_core.cli.common import Answer
from gtp_core.collect import CollectSettings
from gtp_core.errors import CollectError

_SETTINGS = {field.name: field.default for field in fields(CollectSettings)}
_QUIET_SECONDS = 30.0


def collect_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of `collect`: what it reads, where it writes, and one per setting."""
    verb.add_argument(
        "--model", required=True, help="folder of a causal language model, or its name on the hub"
    )
    verb.add_argument("--out", required=True, metavar="STORE", help="folder of the store")
    verb.add_argument(
        "--pool",
        action="append",
        default=[],
        metavar="FILE",
        help="samples: jsonl, parquet, or a folder that `datasets` saved; several in order",
    )
    verb.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="validation examples, in the same formats, maybe with `subtask`; several",
    )
    verb.add_argument("--name", help="of the store (default: its folder's)")
    verb.add_argument(
        "--checkpoints",
        action="append",
        default=[],
        metavar="FOLDER",
        help="checkpoints of your own LoRA training instead of a warm-up: one, or all of a run",
    )
    verb.add_argument("--adapter", metavar="FOLDER", help="adapter that the warm-up starts from")
    verb.add_argument("--chat-template", metavar="FILE", help="instead of the tokenizer's own")
    verb.add_argument(
        "--append", action="store_true", help="add these samples and tasks to the store in --out"
    )
    verb.add_argument("--dry-run", action="store_true", help="say what it would cost, and stop")
    for name, default in _SETTINGS.items():
        verb.add_argument(f"--{name.replace('_', '-')}", **_dial(name, default))


def _dial(name: str, default: Any) -> dict[str, Any]:
    """What argparse needs to know of a setting; its words are those of its docstring."""
    told = re.search(rf"^    {name}: (.+)$", inspect.getdoc(CollectSettings) or "", re.M)
    text = f"{told[1] if told else ''} (default: {default})".replace("%", "%%")
    return {"type": type(default), "default": None, "metavar": name.upper(), "help": text}


def collect(options: argparse.Namespace) -> Answer:
    """Collect a store, or go on with one."""
    # Here and not above: torch takes seconds to load, and the other commands do without.
    from gtp_core.collect.model import model_folder
    from gtp_core.collect.plan import Sources
    from gtp_core.collect.request import Request
    from gtp_core.collect.session import Session

    told = {name: getattr(options, name) for name in _SETTINGS}
    out = Path(options.out)
    sources = Sources(
        model=model_folder(options.model),
        model_id=options.model,
        pool=tuple(Path(path) for path in options.pool),
        tasks=_tasks(options.task),
        checkpoints=tuple(Path(folder) for folder in options.checkpoints),
        adapter=Path(options.adapter) if options.adapter else None,
        chat_template=_text_of(options.chat_template),
    )
    request = Request(
        sources,
        out,
        options.name or out.resolve().name,
        {name: value for name, value in told.items() if value is not None},
        append=options.append,
        dry_run=options.dry_run,
    )
    facts = Session(request, say=_say, progress=RateReport()).run()
    if facts is None:
        sys.exit(0)  # the first process speaks for all
    return facts, [] if options.dry_run else _lines(facts)


def _tasks(told: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in told:
        name, _, path = text.partition("=")
        if not name or not path:
            raise CollectError(
                f"--task {text!r} is not NAME=FILE. Write one like --task t=t.jsonl."
            )
        if name in found:
            raise CollectError(f"--task {name!r} is told twice. Tell it once.")
        found[name] = Path(path)
    return found


def _text_of(path: str | None) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8") if path else None
    except (OSError, UnicodeDecodeError):
        raise CollectError(f"{path} cannot be read; give a chat template as a text file.") from None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _lines(facts: dict[str, Any]) -> list[str]:
    error, invalid = facts["projection_error"], sum(facts["invalid"].values())
    lines = [
        f"{facts['store_id']}: {facts['n_samples']:,} samples, {len(facts['tasks'])} tasks, "
        f"{len(facts['checkpoints'])} checkpoints, {facts['bytes'] / 1e6:,.1f} MB"
    ]
    if invalid:
        lines.append(f"{invalid:,} invalid gradients; {facts['store']}/invalid.jsonl says why")
    if error:
        lines.append(
            f"projection error: rank correlation {error['spearman']:.3f} of influences at "
            f"{error['dim']:,} numbers with those at {error['against']:,}{_by_task(error)}"
        )
    if facts["tokens_per_second"]:
        lines.append(f"{facts['seconds']:,.0f} s, {facts['tokens_per_second']:,.0f} tokens/s")
    else:
        lines.append("the store was whole already; nothing was computed")
    return lines


def _by_task(error: dict[str, Any]) -> str:
    """The same for every task, where there are several."""
    tasks = error.get("tasks", {})
    if len(tasks) < 2:
        return ""
    return " (" + ", ".join(f"{name} {told['spearman']:.3f}" for name, told in tasks.items()) + ")"


class RateReport:
    """Progress with rate and time left: on a terminal in place, else a line every 30 s."""

    def __init__(self) -> None:
        self._what = ""
        self._start = (0.0, 0)
        self._said = time.monotonic()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Tell that `done` of `total` are there; what they are begins with their unit."""
        now, kind = time.monotonic(), what.partition(",")[0]
        if kind != self._what:
            self._what, self._start = kind, (now, done)
        live = sys.stderr.isatty()
        if done < total and now - self._said < (0.2 if live else _QUIET_SECONDS):
            return
        self._said = now
        seconds, since = now - self._start[0], done - self._start[1]
        rate = since / seconds if seconds > 0 else 0.0
        left = f", {_clock((total - done) / rate)} left" if rate else ""
        text = f"{done:,}/{total:,} {what}: {rate:,.0f}/s{left}"
        end = "\n" if done >= total or not live else ""
        print(f"\r\x1b[2K{text}" if live else text, end=end, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"

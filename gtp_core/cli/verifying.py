"""The command `verify`: train on each selection, and ask the task's test examples."""

import argparse
import inspect
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from gtp_core.cli.common import Answer, open_store_of, store_argument
from gtp_core.errors import RunError
from gtp_core.jobs import as_job
from gtp_core.store import Progress
from gtp_core.verify import VerifySettings

_SETTINGS = {field.name: field.default for field in fields(VerifySettings)}
_SWITCHES = ("weighted",)
_QUIET_SECONDS = 30.0


def verify_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of `verify`: what is compared, by what it is judged, and one per setting."""
    store_argument(verb)
    verb.add_argument("runs", metavar="RUN", nargs="+", help="ids of saved runs of one task")
    verb.add_argument("--model", help="folder of the model, or its name (default: the store's)")
    verb.add_argument(
        "--test",
        metavar="FILE",
        help="test examples, no validation ones (default: tests/<task>.jsonl in the store)",
    )
    verb.add_argument("--chat-template", metavar="FILE", help="instead of the tokenizer's own")
    verb.add_argument("--random", action="store_true", help="train on chance draws as well")
    verb.add_argument("--full", action="store_true", help="train on the whole pool as well")
    for name, default in _SETTINGS.items():
        told = re.search(rf"^    {name}: (.+)$", inspect.getdoc(VerifySettings) or "", re.M)
        words = (told[1] if told else "").replace("%", "%%")
        flag = f"--{name.replace('_', '-')}"
        if name in _SWITCHES:
            verb.add_argument(flag, action="store_const", const=1, help=words.split(";")[0])
        else:
            verb.add_argument(flag, type=type(default), metavar=name.upper(), help=words)


def verify_runs(options: argparse.Namespace) -> Answer:
    """Fine-tune on each run's samples and compare; or go on with that.

    Ctrl-C, or a cancelled job, ends it between two steps; the trial begun is saved there.
    """
    # Here and not above: torch takes seconds to load, and the other commands do without.
    from gtp_core.verify import Asked, verify

    told = {name: getattr(options, name) for name in _SETTINGS}
    asked = Asked(
        runs=options.runs,
        model=options.model,
        test=Path(options.test) if options.test else None,
        told={name: value for name, value in told.items() if value is not None},
        random=options.random,
        full=options.full,
        chat_template=_text_of(options.chat_template),
    )
    found: dict[str, Any] = {}

    def work(progress: Progress) -> None:
        with closing(open_store_of(options)) as catalog, _until_asked(progress) as told:
            found.update(verify(catalog, asked, told))

    as_job(work, _Report())
    return found, _lines(found)


@contextmanager
def _until_asked(progress: Progress) -> Iterator[Progress]:
    """The progress, which ends the work at its next word once Ctrl-C or a cancel was heard.

    A second Ctrl-C ends it at once, whatever it is at.
    """
    asked = threading.Event()

    def heard(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        print("gtp: ending after this step; once more to stop at once.", file=sys.stderr)

    def told(done: int, total: int, what: str) -> None:
        progress(done, total, what)
        if asked.is_set():
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals are not heard there
        yield progress
        return
    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Report:
    """How far it is, with the time left: on a terminal in place, else a line every 30 s."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, done: int, total: int, what: str) -> None:
        now, live = time.monotonic(), sys.stderr.isatty()
        if done < total and now - self._said < (0.2 if live else _QUIET_SECONDS):
            return
        self._said = now
        text, end = f"{done:,}/{total:,} {what}", "\n" if done >= total or not live else ""
        print(f"\r\x1b[2K{text}" if live else text, end=end, file=sys.stderr, flush=True)


def _text_of(path: str | None) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8") if path else None
    except (OSError, UnicodeDecodeError):
        raise RunError(f"{path} cannot be read; give a chat template as a text file.") from None


_WIDTHS = {"trials": 7, "n_samples": 13, "steps": 7}


def _lines(found: dict[str, Any]) -> list[str]:
    """The table, what it says, and where it is kept."""
    widest = max(len(row["arm"]) for row in found["table"])
    lines = [
        f"{found['task']}: {found['n_test']:,} test examples, seeds "
        f"{', '.join(map(str, found['seeds']))}",
        f"{'':{widest}} {'trials':>7} {'samples':>13} {'steps':>7} {'test loss':>16} "
        f"{'exact match':>16}",
    ]
    for row in found["table"]:
        told = {**row, "n_samples": _samples(row)}
        counts = "".join(f" {_count(told[name]):>{width}}" for name, width in _WIDTHS.items())
        measures = "".join(f" {_spread(row, name):>16}" for name in ("test_loss", "exact_match"))
        lines.append(f"{row['arm']:{widest}}{counts}{measures}")
    said = [*found["sentences"], *found["correlation_sentences"], *found["notes"]]
    return [*lines, *said, f"kept in {found['folder']}"]


def _samples(row: dict[str, Any]) -> int | str | None:
    """How many samples; where the steps came by some of them only, how many of how many."""
    met, all_of_them = row["n_met"], row["n_samples"]
    return all_of_them if met == all_of_them else f"{met:,} of {all_of_them:,}"


def _count(value: int | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:,}"


def _spread(row: dict[str, Any], name: str) -> str:
    """A mean, and how far trials lie apart."""
    mean, deviation = row[name], row[f"{name}_sd"]
    if mean is None:
        return "-"
    return f"{mean:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")

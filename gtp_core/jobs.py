"""Long work in a process of its own: progress, a cancel that works, and a page may be reloaded.

A job is a command line (`python -m gtp_core VERB ...`) and a small file `jobs/<name>.json` in the
workspace. The worker holds a lock on `jobs/<name>.lock` as long as it lives, which the system lets
go whatever becomes of it; so whoever reads the file, in whatever process, knows a dead worker from
a living one, and never takes another program that got its number for it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NoReturn

from gtp_core.errors import CancelledError, CatalogError
from gtp_core.locks import hold, is_held
from gtp_core.store import Progress, write_json

_GRACE = 3.0  # seconds between asking a worker to end and making it
_FILE = "GTP_JOB"  # the variable that tells a command which file it is to keep
_TELL = 0.2  # seconds between two writes of the progress
_workers: list[subprocess.Popen[bytes]] = []  # started here: the system wants to be asked of them


@dataclass(frozen=True)
class Job:
    """What is known of a job.

    Attributes:
        state: `starting`, `running`, `done`, `failed` (with a message), `cancelled`, or `dead`:
            its process ended without a word.
        done, total, what: how far it is.
        message: the one sentence of an error.
        pid: of the worker, which leads a group of its own.
        started, ended: seconds since 1970; ended is 0 while it runs.
    """

    state: str
    done: int = 0
    total: int = 1
    what: str = ""
    message: str = ""
    pid: int = 0
    started: float = 0.0
    ended: float = 0.0

    @property
    def share(self) -> float:
        """How far it is, from 0 to 1."""
        return min(max(self.done / max(self.total, 1), 0.0), 1.0)


def start(workspace: Path, name: str, arguments: Sequence[str]) -> Job:
    """Run `python -m gtp_core ARGUMENTS` as a job; one that runs already goes on instead.

    Raises:
        CatalogError: the worker did not come up.
    """
    known = look(workspace, name)
    if known is not None and known.state == "running":
        return known
    path = _path(workspace, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(Job("starting", what="starting")))
    log = path.with_suffix(".log")
    environment = os.environ | {_FILE: str(path)}
    with open(log, "wb") as out:
        worker = subprocess.Popen(
            [sys.executable, "-m", "gtp_core", *arguments],
            cwd=Path(__file__).resolve().parent.parent,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    _workers.append(worker)
    while worker.poll() is None:
        found = _read(path)
        if found is not None and found.state != "starting":
            break
        time.sleep(0.02)
    found = look(workspace, name)
    if found is None or found.state in ("starting", "dead"):
        last = log.read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1]
        raise CatalogError(
            f"the job {name!r} did not start ({last[:200] or 'it said nothing'}). Run "
            f"`python -m gtp_core {arguments[0]}` in a terminal to see why."
        )
    return found


def look(workspace: Path, name: str) -> Job | None:
    """What became of a job; None if there never was one. Whoever asks, however often."""
    _workers[:] = [worker for worker in _workers if worker.poll() is None]
    path = _path(workspace, name)
    found = _read(path)
    if found is None or found.state not in ("running", "starting"):
        return found
    if is_held(_lock(path)):
        return found
    again = _read(path)  # it may have ended between the two looks
    if again is None or again.state in ("running", "starting"):
        return replace(again or found, state="dead", ended=found.ended)
    return again


def cancel(workspace: Path, name: str) -> Job | None:
    """End a job and everything it started; returns when it is gone."""
    path = _path(workspace, name)
    found = look(workspace, name)
    if found is None or found.state != "running":
        return found
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(found.pid, sign)
        end = time.monotonic() + _GRACE
        while is_held(_lock(path)) and time.monotonic() < end:
            time.sleep(0.02)
        if not is_held(_lock(path)):
            break
    gone = replace(found, state="cancelled", ended=time.time())
    write_json(path, asdict(gone))
    return gone


def forget(workspace: Path, name: str) -> None:
    """Take away the file of a job that has ended."""
    found = look(workspace, name)
    if found is not None and found.state != "running":
        _path(workspace, name).unlink(missing_ok=True)


def as_job(work: Callable[[Progress], None], shown: Progress) -> None:
    """Do the work; where a job started this command, keep its file. Called by the command.

    Args:
        work: called with what it is to tell its progress to.
        shown: where to tell it besides.

    Raises:
        CancelledError: another worker is at it.
    """
    if _FILE not in os.environ:
        work(shown)
        return
    path = Path(os.environ[_FILE])

    def refuse() -> NoReturn:
        raise CancelledError(f"the job of {path} runs already. Wait for it, or cancel it.")

    with hold(_lock(path), refuse):
        _keep(path, work, shown)


def _keep(path: Path, work: Callable[[Progress], None], shown: Progress) -> None:
    job = Job("running", pid=os.getpid(), started=time.time(), what="starting")
    write_json(path, asdict(job))
    told = 0.0

    def report(done: int, total: int, what: str) -> None:
        nonlocal job, told
        shown(done, total, what)
        job = replace(job, done=done, total=total, what=what)
        if time.monotonic() - told > _TELL:
            told = time.monotonic()
            write_json(path, asdict(job))

    try:
        work(report)
    except BaseException as error:
        message = str(error) or type(error).__name__
        job = replace(job, state="failed", message=message, ended=time.time())
        write_json(path, asdict(job))
        raise
    job = replace(job, state="done", done=job.total, message="", ended=time.time())
    write_json(path, asdict(job))


def _path(workspace: Path, name: str) -> Path:
    return workspace / "jobs" / f"{name}.json"


def _read(path: Path) -> Job | None:
    try:
        return Job(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _lock(path: Path) -> Path:
    """What the worker of a job's file holds while it lives."""
    return path.with_suffix(".lock")

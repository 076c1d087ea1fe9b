"""Where the durable things of a store live: runs, edits, derived files. Files are the truth."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs
import polars as pl

from gtp_core.errors import CatalogError, RunError
from gtp_core.store import Store, write_json, written_whole

EDIT_KINDS = ("pin", "ban", "tag", "keeper")
RUN_FILES = ("selection.parquet", "rounds.parquet", "verdicts.parquet")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,159}")


@dataclass(frozen=True)
class Edit:
    """One line of the edit log: who did what to which sample; an undo is another line.

    Attributes:
        edit: number of its line in the log, from 1. It is not stored: two people who append at
            once could not both know it.
        time: UTC, ISO 8601.
        what: pin, ban, tag or keeper; or undo, and then `undoes` is the number of a line.
    """

    edit: int
    time: str
    who: str
    what: str
    sample_id: str = ""
    value: str = ""
    undoes: int = 0


def workspace_of(store: Store, workspace: Path | str | None = None) -> Path:
    """The folder for everything derived from a store, made if need be.

    `workspace/<store id>` when one is given; the store itself when it can be written to; a folder
    of the user's otherwise.

    Raises:
        CatalogError: the folder cannot be written to.
    """
    if workspace is not None:
        folder = Path(workspace) / store.store_id
    elif os.access(store.folder, os.W_OK):
        folder = store.folder
    else:
        folder = platformdirs.user_data_path("gtp-explorer") / store.store_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise CatalogError(
            f"{folder} cannot be written to; the catalog needs a folder of its own. "
            "Name one with --workspace."
        )
    return folder


def save_run(workspace: Path, run: dict[str, Any], tables: dict[str, pl.DataFrame]) -> None:
    """Write `runs/<run id>/`: the tables first, run.json last. Saving it again is a no-op.

    Raises:
        RunError: the run id cannot be a folder name.
    """
    folder = _run_folder(workspace, run["run"])
    if (folder / "run.json").exists():
        return
    for name in RUN_FILES:
        with written_whole(folder / name) as temporary:
            tables[name.removesuffix(".parquet")].write_parquet(temporary)
    write_json(folder / "run.json", run)


def read_run(workspace: Path, run_id: str) -> tuple[dict[str, Any], dict[str, pl.DataFrame]]:
    """A saved run and its tables.

    Raises:
        RunError: no run of that id, with the ids there are.
    """
    folder = _run_folder(workspace, run_id)
    if not (folder / "run.json").is_file():
        known = ", ".join(list_runs(workspace)) or "none yet"
        raise RunError(f"run {run_id!r} is not in this store's runs ({known}). Choose one of them.")
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        tables = {
            name.removesuffix(".parquet"): pl.read_parquet(folder / name, glob=False)
            for name in RUN_FILES
        }
        if not isinstance(run, dict):
            raise ValueError("no object")
    except (OSError, ValueError, RecursionError, pl.exceptions.PolarsError):
        raise RunError(
            f"run {run_id!r} in {folder} is damaged. Delete that folder and select again."
        ) from None
    return run, tables


def list_runs(workspace: Path) -> list[str]:
    """Ids of the complete runs, oldest first."""
    found = []
    for path in (workspace / "runs").glob("*/run.json"):
        with contextlib.suppress(FileNotFoundError):  # deleted by someone else since the glob
            found.append((path.stat().st_mtime_ns, path.parent.name))
    return [name for _, name in sorted(found)]


def delete_run(workspace: Path, run_id: str) -> None:
    """Forget a run. Exports made from it keep their receipts."""
    folder = _run_folder(workspace, run_id)
    (folder / "run.json").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def append_edit(
    workspace: Path, *, who: str, what: str, sample_id: str = "", value: str = "", undoes: int = 0
) -> Edit:
    """Add a line to the edit log; it is on disk when this returns.

    Raises:
        CatalogError: an unknown kind of edit, one without a sample, or an undo of a line that is
            not there.
    """
    if what not in (*EDIT_KINDS, "undo"):
        raise CatalogError(
            f"edit {what!r} is not one of {', '.join(EDIT_KINDS)}, undo. Choose one of them."
        )
    if what != "undo" and not sample_id:
        raise CatalogError(f"a {what} names no sample; every edit is about one. Give its id.")
    log = read_edits(workspace)
    if what == "undo" and undoes not in {edit.edit for edit in log if edit.what != "undo"}:
        raise CatalogError(
            f"edit {undoes} is no pin, ban, tag or keeper in the log of {len(log)}; nothing was "
            "undone. Choose one that is."
        )
    time = datetime.now(UTC).isoformat(timespec="seconds")
    edit = Edit(0, time, who, what, sample_id, value, undoes)
    return replace(edit, edit=_append_line(workspace / "edits.jsonl", edit))


def _append_line(path: Path, edit: Edit) -> int:
    """Append in one write, whoever else does so at the same time; the number of the new line."""
    said = {name: value for name, value in asdict(edit).items() if name != "edit"}
    line = json.dumps(said, ensure_ascii=False).encode() + b"\n"
    with open(path, "ab+", buffering=0) as handle:
        if handle.seek(0, os.SEEK_END) and path.read_bytes()[-1:] != b"\n":
            line = b"\n" + line  # after a line that a kill cut short
        handle.write(line)
        os.fsync(handle.fileno())
        end = handle.tell()
    return path.read_bytes()[:end].count(b"\n")


def read_edits(workspace: Path) -> list[Edit]:
    """The edit log. A last line that a kill cut short is ignored, as if never written."""
    return list(_edit_lines(workspace / "edits.jsonl"))


def active_edits(edits: Sequence[Edit]) -> list[Edit]:
    """The edits that were not undone."""
    undone = {edit.undoes for edit in edits if edit.what == "undo"}
    return [edit for edit in edits if edit.what != "undo" and edit.edit not in undone]


def _edit_lines(path: Path) -> Iterator[Edit]:
    if not path.exists():
        return
    # Split at newlines only: `splitlines` also breaks a line at U+2028 inside a tag or an id.
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        try:
            edit = Edit(**{**json.loads(line), "edit": number})
        except (ValueError, TypeError, RecursionError):
            continue
        texts = (edit.time, edit.who, edit.what, edit.sample_id, edit.value)
        if all(isinstance(text, str) for text in texts) and isinstance(edit.undoes, int):
            yield edit


def _run_folder(workspace: Path, run_id: str) -> Path:
    if not _RUN_ID.fullmatch(run_id):
        raise RunError(
            f"run {run_id!r} is not the id of a run; ids are letters, digits, '.', '_' and '-'. "
            f"Known runs: {', '.join(list_runs(workspace)) or 'none yet'}."
        )
    return workspace / "runs" / run_id

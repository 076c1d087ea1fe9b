"""Where the durable things of a store live: runs and derived files. Files are the truth."""

import contextlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import platformdirs
import polars as pl

from gtp_core.errors import CatalogError, RunError
from gtp_core.store import Store, write_json, written_whole

RUN_FILES = ("selection.parquet", "rounds.parquet", "verdicts.parquet")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,159}")


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


def clusters_path(workspace: Path, digest: str) -> Path:
    """The saved duplicate clusters of the store with this digest: one file, replaced whole.

    Its columns: basis, cluster, sample_id, keeper; and kept, score, rule of what was dropped.
    """
    return workspace / "neighbors" / f"clusters-{digest[:16]}.parquet"


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


def _run_folder(workspace: Path, run_id: str) -> Path:
    if not _RUN_ID.fullmatch(run_id):
        raise RunError(
            f"run {run_id!r} is not the id of a run; ids are letters, digits, '.', '_' and '-'. "
            f"Known runs: {', '.join(list_runs(workspace)) or 'none yet'}."
        )
    return workspace / "runs" / run_id

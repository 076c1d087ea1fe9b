"""What several commands share: the store they open, lists of ids, and how far they are."""

import argparse
import sys
from pathlib import Path
from typing import Any

from gtp_core.catalog import Catalog, open_catalog
from gtp_core.errors import ExportError

Answer = tuple[dict[str, Any], list[str]]
"""What a command found: for `--json`, and as lines for people."""


def store_argument(verb: argparse.ArgumentParser) -> None:
    """The arguments of every command that opens a store."""
    verb.add_argument("store", metavar="STORE", help="folder of a gradient store")
    verb.add_argument("--workspace", help="where to keep runs and the catalog (default: the store)")


def open_store_of(options: argparse.Namespace) -> Catalog:
    """The catalog of the store that a command names."""
    return open_catalog(options.store, workspace=options.workspace, progress=report_progress)


def ids_in(path: str | None) -> list[str]:
    """The sample ids in a text file, one a line; none without a file."""
    if path is None:
        return []
    try:
        # At newlines only: `splitlines` also breaks an id at U+2028.
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError):
        raise ExportError(f"{path} cannot be read; give a text file of sample ids.") from None
    return [line.strip() for line in lines if line.strip()]


def report_progress(done: int, total: int, what: str) -> None:
    """How far a long piece of work is, where someone watches; no total where nobody knows it."""
    if sys.stderr.isatty():
        end = "\n" if done >= total else "\r"
        told = f"{done}/{total} {what}" if total else what.partition("\n")[0]
        print(f"\x1b[2K{told}", end=end, file=sys.stderr, flush=True)

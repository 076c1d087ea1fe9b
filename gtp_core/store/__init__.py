"""The folder on disk: manifest, samples, gradients (store format 1)."""

from gtp_core.store.files import sha256, to_json, write_json, written_whole
from gtp_core.store.manifest import (
    Checkpoint,
    File,
    Manifest,
    Part,
    Task,
    all_files,
    is_name,
    read_manifest,
)
from gtp_core.store.reader import EXAMPLE_COLUMNS, Progress, Store, open_store
from gtp_core.store.units import RowSource, unit_rows
from gtp_core.store.writer import SAMPLE_COLUMNS, StoreWriter

__all__ = [
    "EXAMPLE_COLUMNS",
    "SAMPLE_COLUMNS",
    "Checkpoint",
    "File",
    "Manifest",
    "Part",
    "Progress",
    "RowSource",
    "Store",
    "StoreWriter",
    "Task",
    "all_files",
    "is_name",
    "open_store",
    "read_manifest",
    "sha256",
    "to_json",
    "unit_rows",
    "write_json",
    "written_whole",
]

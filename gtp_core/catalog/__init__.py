"""DuckDB: samples, tasks, influences, health, runs, verdicts, edits (the only SQL)."""

from gtp_core.catalog.catalog import Catalog, open_catalog
from gtp_core.catalog.edits import EDIT_KINDS, Edit, Standing, last_of
from gtp_core.catalog.tables import TABLES
from gtp_core.catalog.workspace import workspace_of

__all__ = [
    "EDIT_KINDS",
    "TABLES",
    "Catalog",
    "Edit",
    "Standing",
    "last_of",
    "open_catalog",
    "workspace_of",
]

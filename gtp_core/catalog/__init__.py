"""DuckDB: samples, tasks, influences, health, runs, verdicts, edits (the only SQL)."""

from gtp_core.catalog.catalog import TABLES, Catalog, open_catalog
from gtp_core.catalog.workspace import EDIT_KINDS, Edit, workspace_of

__all__ = ["EDIT_KINDS", "TABLES", "Catalog", "Edit", "open_catalog", "workspace_of"]

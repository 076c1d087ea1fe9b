"""DuckDB: samples, tasks, influences, health, runs, verdicts, edits (the only SQL)."""

from gtp_core.catalog.activity import history, labels, saved_runs
from gtp_core.catalog.catalog import Catalog, open_catalog
from gtp_core.catalog.current import PAGE, Current, Nearest, WorkingSet
from gtp_core.catalog.edits import EDIT_KINDS, Edit, Standing, last_of
from gtp_core.catalog.filters import (
    FILTER_KINDS,
    ORDERS,
    Filter,
    is_nearest,
    is_placed,
    read_filters,
    spell_filters,
    working_set,
)
from gtp_core.catalog.tables import TABLES
from gtp_core.catalog.workspace import clusters_path, workspace_of

__all__ = [
    "EDIT_KINDS",
    "FILTER_KINDS",
    "ORDERS",
    "PAGE",
    "TABLES",
    "Catalog",
    "Current",
    "Edit",
    "Filter",
    "Nearest",
    "Standing",
    "WorkingSet",
    "clusters_path",
    "history",
    "is_nearest",
    "is_placed",
    "labels",
    "last_of",
    "open_catalog",
    "read_filters",
    "saved_runs",
    "spell_filters",
    "working_set",
    "workspace_of",
]

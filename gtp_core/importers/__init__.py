"""Stores made by other tools, one file each, by name; found first, then written."""

from gtp_core.importers import arrays, bergson, dattri, less, trak
from gtp_core.importers.plan import FoundTask, Plan
from gtp_core.importers.register import IMPORTERS, Asked, guess, importer, label, survey
from gtp_core.importers.writing import import_store

__all__ = [
    "IMPORTERS",
    "Asked",
    "FoundTask",
    "Plan",
    "guess",
    "import_store",
    "importer",
    "label",
    "survey",
]

_ROOMS = (less, bergson, trak, dattri, arrays)

"""Stores made by other tools, one file each, by name; found first, then written."""

from gtp_core.importers import arrays, bergson, dattri, less, trak
from gtp_core.importers.plan import FoundTask, Plan
from gtp_core.importers.register import (
    IMPORTERS,
    WHOLE_NUMBERS,
    Asked,
    asked_from,
    guess,
    importer,
    label,
    options,
    survey,
    takes_several,
)
from gtp_core.importers.writing import import_store

__all__ = [
    "IMPORTERS",
    "WHOLE_NUMBERS",
    "Asked",
    "FoundTask",
    "Plan",
    "asked_from",
    "guess",
    "import_store",
    "importer",
    "label",
    "options",
    "survey",
    "takes_several",
]

_ROOMS = (less, bergson, trak, dattri, arrays)

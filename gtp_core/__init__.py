"""GTP Explorer: choose fine-tuning samples jointly, by gradient trajectory pursuit.

The public names load on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "GTPError": "errors",
    "Store": "store",
    "StoreWriter": "store",
    "open_store": "store",
    "Catalog": "catalog",
    "open_catalog": "catalog",
    "Problem": "atoms",
    "pose": "atoms",
    "METHODS": "methods",
    "Settings": "methods",
    "Selection": "pursuit",
    "select": "methods",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""Compressive-sampling matching pursuit with non-negative weights, and what a selection is.

`pursue` runs it on anything that is an `Atoms`; a `Selection` is the answer of every method.
"""

from gtp_core.pursuit.hunt import First
from gtp_core.pursuit.pace import kept_bytes
from gtp_core.pursuit.run import pursue
from gtp_core.pursuit.selection import Round, Selection, Stop, best_multiple, relative_residuals

__all__ = [
    "First",
    "Round",
    "Selection",
    "Stop",
    "best_multiple",
    "kept_bytes",
    "pursue",
    "relative_residuals",
]

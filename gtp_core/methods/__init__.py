"""Every way to select, by name: one decorated function each.

To add a method, write a function of a Problem and a number of samples, and decorate it. The first
line of its docstring is its label on the page, in the help of the command and in the README.
"""

from gtp_core.methods import pursuits, ranking  # noqa: F401  they fill the register, in this order

# isort: split
from gtp_core.methods import cover, greedy, hierarchical  # noqa: F401

# isort: split
from gtp_core.methods.budgets import parse_budget, samples_of
from gtp_core.methods.choose import select, used_settings
from gtp_core.methods.register import (
    FILLS,
    METHODS,
    PASSES,
    Method,
    OnRound,
    Settings,
    label,
    method,
)
from gtp_core.methods.subspace import IN_SUBSPACES, prepare_subspace

__all__ = [
    "FILLS",
    "IN_SUBSPACES",
    "METHODS",
    "PASSES",
    "Method",
    "OnRound",
    "Settings",
    "label",
    "method",
    "parse_budget",
    "prepare_subspace",
    "samples_of",
    "select",
    "used_settings",
]

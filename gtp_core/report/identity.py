"""Which settings tell one run from another, so that prepared paths and ids outlive new settings."""

from collections.abc import Mapping
from typing import Any

from gtp_core.atoms import DEFAULTS
from gtp_core.methods import Settings

_FIRST = {
    *("task", "subtasks", "common_direction", "where", "pins", "bans", "n_splits", "split_seed"),
    *("ridge", "max_rounds", "tolerance", "fill", "seed", "method", "budget"),
}
_NOTES = {"auto"}  # how a setting was come by; its value says what was done


def telling(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those that came later and are at their default.

    A run names every value it used; one that was asked for before a setting existed is still the
    same run when that setting is left alone.
    """
    defaults = {**vars(Settings()), **DEFAULTS}
    missing = object()
    return {
        name: value
        for name, value in settings.items()
        if name in _FIRST or (name not in _NOTES and value != defaults.get(name, missing))
    }

"""Does a selection train a better model? Fine-tune on each, and ask the task's test examples.

The names load on first use: settings and comparisons need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gtp_core.verify.comparing import paired as paired
    from gtp_core.verify.correlating import correlations as correlations
    from gtp_core.verify.session import Asked as Asked
    from gtp_core.verify.session import verify as verify
    from gtp_core.verify.settings import VerifySettings as VerifySettings
    from gtp_core.verify.settings import as_collected as as_collected

_HOMES = {
    "Asked": "session",
    "VerifySettings": "settings",
    "as_collected": "settings",
    "correlations": "correlating",
    "paired": "comparing",
    "verify": "session",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

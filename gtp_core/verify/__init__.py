"""Does a selection train a better model? Fine-tune on each, and ask the task's test examples.

The names load on first use: settings, comparisons and what is kept need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gtp_core.verify.comparing import paired as paired
    from gtp_core.verify.correlating import JUDGES as JUDGES
    from gtp_core.verify.correlating import LEAST as LEAST
    from gtp_core.verify.correlating import correlations as correlations
    from gtp_core.verify.session import Asked as Asked
    from gtp_core.verify.session import verify as verify
    from gtp_core.verify.settings import VerifySettings as VerifySettings
    from gtp_core.verify.settings import as_collected as as_collected
    from gtp_core.verify.sources import at_hand as at_hand
    from gtp_core.verify.telling import answer as answer
    from gtp_core.verify.telling import curves as curves
    from gtp_core.verify.telling import judged as judged
    from gtp_core.verify.telling import names_of as names_of
    from gtp_core.verify.telling import remarks as remarks
    from gtp_core.verify.telling import shown_table as shown_table
    from gtp_core.verify.telling import subsets_in as subsets_in
    from gtp_core.verify.wishing import Kept as Kept
    from gtp_core.verify.wishing import Wish as Wish
    from gtp_core.verify.wishing import equal_steps as equal_steps
    from gtp_core.verify.wishing import first_seed as first_seed
    from gtp_core.verify.wishing import verifications as verifications

_HOMES = {
    "JUDGES": "correlating",
    "LEAST": "correlating",
    "Asked": "session",
    "Kept": "wishing",
    "VerifySettings": "settings",
    "Wish": "wishing",
    "answer": "telling",
    "as_collected": "settings",
    "at_hand": "sources",
    "correlations": "correlating",
    "curves": "telling",
    "equal_steps": "wishing",
    "first_seed": "wishing",
    "judged": "telling",
    "names_of": "telling",
    "paired": "comparing",
    "remarks": "telling",
    "shown_table": "telling",
    "subsets_in": "telling",
    "verifications": "wishing",
    "verify": "session",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

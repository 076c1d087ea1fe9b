"""A model and a pool become a store: LoRA warm-up, then projected per-sample gradients.

The names load on first use: what needs no torch, such as the settings, costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gtp_core.collect.checkpoints import AdapterState as AdapterState
    from gtp_core.collect.collect import collect_store as collect_store
    from gtp_core.collect.encode import Encoded as Encoded
    from gtp_core.collect.gradients import GradientModel as GradientModel
    from gtp_core.collect.projection import make_projection as make_projection
    from gtp_core.collect.rows import Moments as Moments
    from gtp_core.collect.rows import gradient_rows as gradient_rows
    from gtp_core.collect.settings import CollectSettings as CollectSettings
    from gtp_core.collect.warmup import WarmupSettings as WarmupSettings
    from gtp_core.collect.warmup import add_lora as add_lora
    from gtp_core.collect.warmup import load_adapter as load_adapter
    from gtp_core.collect.warmup import warm_up as warm_up

_HOMES = {
    "AdapterState": "checkpoints",
    "CollectSettings": "settings",
    "Encoded": "encode",
    "GradientModel": "gradients",
    "Moments": "rows",
    "WarmupSettings": "warmup",
    "add_lora": "warmup",
    "collect_store": "collect",
    "gradient_rows": "rows",
    "load_adapter": "warmup",
    "make_projection": "projection",
    "warm_up": "warmup",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""A model and a pool become a store: LoRA warm-up, then projected per-sample gradients."""

from gtp_core.collect.collect import collect_store
from gtp_core.collect.encode import Encoded, encode
from gtp_core.collect.gradients import GradientModel, gradient_rows
from gtp_core.collect.projection import Projection
from gtp_core.collect.repeatable import repeatable
from gtp_core.collect.warmup import AdapterState, WarmupSettings, add_lora, load_adapter, warm_up

__all__ = [
    "AdapterState",
    "Encoded",
    "GradientModel",
    "Projection",
    "WarmupSettings",
    "add_lora",
    "collect_store",
    "encode",
    "gradient_rows",
    "load_adapter",
    "repeatable",
    "warm_up",
]

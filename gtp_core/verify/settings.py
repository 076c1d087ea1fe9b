"""Every choice of a verification, with its default: no library is loaded to read them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from gtp_core.collect.settings import SCHEDULES, TEMPLATES, CollectSettings
from gtp_core.errors import MethodError
from gtp_core.store import Store

SPEED_ONLY = ("seeds", "max_batch_tokens", "device", "threads", "save_seconds")
"""Settings that leave the meaning of a trial as it is: later ones may have others."""

_SHARED: tuple[str, ...] = ("template", "max_tokens", "dtype", "batch_size", "learning_rate")
_SHARED += ("warmup_ratio", "schedule", "rank", "alpha", "dropout", "targets", "epochs")


@dataclass(frozen=True)
class VerifySettings:
    """How the store's model is fine-tuned and asked. Without a word it is as in collecting.

    Attributes:
        seeds: trials of every subset, each with a seed of its own
        epochs: times that every subset is gone through (equal epochs)
        steps: optimizer steps of every subset instead, whatever its size (equal steps); 0 is epochs
        weighted: whether a sample's loss counts by its weight in the run; 1 or 0
        batch_size: samples of one step
        learning_rate: the peak
        warmup_ratio: share of the steps in which it rises
        schedule: how it falls: linear, cosine or constant
        rank: of the LoRA adapter
        alpha: of the LoRA adapter
        dropout: of the LoRA adapter
        targets: modules the adapter goes to, with commas; auto: the attention projections
        template: chat, plain, or auto: chat where the tokenizer has a template
        max_tokens: a longer sample or test example loses its end
        max_batch_tokens: tokens of one forward pass, padding included
        max_test: ask only so many test examples, drawn by chance; 0 asks all
        max_new_tokens: longest answer that is written; 0 asks for none
        points: of a test-loss curve, evenly over the steps, the last at their end
        dtype: of the base model: fp32, bf16, fp16, or auto: bf16 on a GPU, else fp32
        device: cpu, cuda, or auto
        threads: of torch on a CPU; 0 is torch's own choice
        save_seconds: between two saves of a running trial, from which it goes on; 0: every step
    """

    seeds: int = 3
    epochs: int = 4
    steps: int = 0
    weighted: int = 0
    batch_size: int = 16
    learning_rate: float = 2e-5
    warmup_ratio: float = 0.03
    schedule: str = "linear"
    rank: int = 128
    alpha: int = 512
    dropout: float = 0.1
    targets: str = "auto"
    template: str = "auto"
    max_tokens: int = 2048
    max_batch_tokens: int = 8192
    max_test: int = 0
    max_new_tokens: int = 64
    points: int = 4
    dtype: str = "auto"
    device: str = "auto"
    threads: int = 0
    save_seconds: int = 30

    def meaning(self) -> dict[str, Any]:
        """Those that decide what a trial measures."""
        return {name: value for name, value in asdict(self).items() if name not in SPEED_ONLY}

    def collecting(self, seed: int) -> CollectSettings:
        """The same, for the code that makes adapters."""
        shared = {name: getattr(self, name) for name in _SHARED}
        return CollectSettings(**shared, seed=seed)


def as_collected(store: Store, told: Mapping[str, Any]) -> VerifySettings:
    """What was told, and for the rest what the store says it was collected with.

    A store that keeps no settings may tell its adapter; its peak learning rate is then taken for
    the largest step size, which is the mean of an epoch.

    Raises:
        MethodError: a setting that cannot be meant.
    """
    manifest = store.manifest
    kept = manifest.producer.get("settings")
    found: dict[str, Any] = {}
    if isinstance(kept, dict) and "learning_rate" in kept:
        found = {name: kept[name] for name in _SHARED if name in kept}
    else:
        adapter = manifest.model.get("adapter") or {}
        found = {name: adapter[name] for name in ("rank", "alpha") if name in adapter}
        if isinstance(adapter.get("target_modules"), list):
            found["targets"] = ",".join(adapter["target_modules"])
        found["learning_rate"] = max(c.step_size for c in store.checkpoints)
    settings = replace(VerifySettings(), **{**found, **told})
    _check(settings)
    return settings


def _check(settings: VerifySettings) -> None:
    for name, known in (("template", TEMPLATES), ("schedule", SCHEDULES)):
        if getattr(settings, name) not in known:
            raise MethodError(
                f"{name} {getattr(settings, name)!r} is unknown; it can be {', '.join(known)}."
            )
    least = {"seeds": 1, "epochs": 1, "steps": 0, "batch_size": 1, "rank": 1, "max_tokens": 2}
    least |= {"max_batch_tokens": 1, "max_test": 0, "max_new_tokens": 0, "points": 1, "threads": 0}
    least |= {"save_seconds": 0}
    for name, lowest in least.items():
        if getattr(settings, name) < lowest:
            raise MethodError(
                f"{name} is {getattr(settings, name)}; it is at least {lowest}. Raise it."
            )
    if not 0 < settings.learning_rate <= 1:
        raise MethodError(
            f"learning_rate is {settings.learning_rate}; it is above 0 and at most 1. Tell it with "
            "--learning-rate."
        )

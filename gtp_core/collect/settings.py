"""Every choice of a collection, with its default: no library is loaded to read them."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from gtp_core.errors import CollectError

TEMPLATES = ("auto", "plain", "chat")
SCHEDULES = ("linear", "cosine", "constant")
SPEED_ONLY = ("limit", "threads", "device", "max_batch_tokens", "max_batch_samples", "part_rows")
"""Settings that leave a row's meaning as it is: an appended part may have others."""


@dataclass(frozen=True)
class CollectSettings:
    """How a store is collected. The warm-up's defaults are those of LESS (Xia et al. 2024).

    Attributes:
        gradients: rows of samples: adam, adam-less, sgd or sign
        task_gradients: rows of validation examples: sgd, adam, adam-less or sign
        projection: sjlt, rademacher, none, or auto: none where it is no larger, else sjlt
        dim: numbers in a projected gradient
        projection_seed: of the random projection
        template: chat, plain, or auto: chat where the tokenizer has a template
        max_tokens: a longer sample loses its end
        max_batch_tokens: tokens of one forward pass, padding included; bounds the activations
        max_batch_samples: samples of one forward pass; bounds the gradients held at a time
        part_rows: samples of one part, the least that is saved at a time
        dtype: of the base model: fp32, bf16, fp16, or auto: bf16 on a GPU, else fp32
        device: cpu, cuda, or auto
        threads: of torch on a CPU; 0 is torch's own choice
        limit: take only the first so many samples of the pool; 0 takes all
        warmup_share: share of the pool that the warm-up trains on
        epochs: of the warm-up, with a checkpoint after each
        batch_size: samples of one warm-up step
        learning_rate: peak of the warm-up
        warmup_ratio: share of the warm-up's steps in which the learning rate rises
        schedule: how it falls: linear, cosine or constant
        rank: of the LoRA adapter
        alpha: of the LoRA adapter
        dropout: of the LoRA adapter, in the warm-up only
        targets: modules the adapter goes to, with commas; auto: the attention projections
        seed: of the warm-up and its adapter
    """

    gradients: str = "adam"
    task_gradients: str = "sgd"
    projection: str = "auto"
    dim: int = 8192
    projection_seed: int = 0
    template: str = "auto"
    max_tokens: int = 2048
    max_batch_tokens: int = 8192
    max_batch_samples: int = 64
    part_rows: int = 2048
    dtype: str = "auto"
    device: str = "auto"
    threads: int = 0
    limit: int = 0
    warmup_share: float = 0.05
    epochs: int = 4
    batch_size: int = 128
    learning_rate: float = 2e-5
    warmup_ratio: float = 0.03
    schedule: str = "linear"
    rank: int = 128
    alpha: int = 512
    dropout: float = 0.1
    targets: str = "auto"
    seed: int = 0

    def document(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)

    def meaning(self) -> dict[str, Any]:
        """Those that decide what a row means."""
        return {name: value for name, value in asdict(self).items() if name not in SPEED_ONLY}


def from_document(document: dict[str, Any]) -> CollectSettings:
    """The settings a store says it was collected with; unknown names are left aside."""
    known = {field.name for field in fields(CollectSettings)}
    return CollectSettings(**{name: v for name, v in document.items() if name in known})


def check_settings(settings: CollectSettings) -> None:
    """Refuse settings that cannot be meant before anything is read."""
    for name, known in (("template", TEMPLATES), ("schedule", SCHEDULES)):
        if getattr(settings, name) not in known:
            raise CollectError(
                f"{name} {getattr(settings, name)!r} is unknown; it can be {', '.join(known)}."
            )
    least = {"epochs": 1, "batch_size": 1, "rank": 1, "part_rows": 1, "max_tokens": 2, "dim": 1}
    least |= {"max_batch_tokens": 1, "max_batch_samples": 1, "limit": 0, "threads": 0}
    for name, lowest in least.items():
        if getattr(settings, name) < lowest:
            raise CollectError(
                f"{name} is {getattr(settings, name)}; it is at least {lowest}. Raise it."
            )
    for name in ("warmup_share", "learning_rate"):
        value = getattr(settings, name)
        if not 0 < value <= 1:
            raise CollectError(f"{name} is {value}; it is above 0 and at most 1. Change it.")

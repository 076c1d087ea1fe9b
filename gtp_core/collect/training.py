"""The warm-up of a collection, saved after every epoch, and read back like anyone's checkpoints."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from gtp_core.collect.checkpoints import (
    AdapterState,
    adapter_weights,
    checkpoint_folders,
    read_checkpoints,
    write_checkpoint,
)
from gtp_core.collect.encode import Encoded
from gtp_core.collect.settings import CollectSettings
from gtp_core.collect.warmup import WarmupSettings, chosen_rows, train_epochs, trainable
from gtp_core.collect.work import Progress

WARMUP = "warmup"


def warmed_up(
    model: PeftModel,
    folder: Path,
    settings: CollectSettings,
    *,
    n_pool: int,
    texts: Callable[[Sequence[int]], Sequence[Encoded]],
    pad_id: int,
    adapter: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Train the epochs that `folder` does not have yet, each saved as a checkpoint.

    Args:
        texts: the samples in some rows of the pool, as the model reads them.
        adapter: whose weights training starts from, instead of fresh ones.
    """
    done = trained(model, folder) if (folder / WARMUP).is_dir() else []
    if len(done) >= settings.epochs:
        return
    if adapter and not done:
        weights = adapter_weights(adapter, shapes_of(model))
        with torch.no_grad():
            for name, parameter in trainable(model):
                parameter.copy_(weights[name])
    warmup = warmup_settings(settings)
    config = model.peft_config[model.active_adapter].to_dict()
    for state in train_epochs(
        model,
        texts(chosen_rows(n_pool, warmup).tolist()),
        n_pool=n_pool,
        pad_id=pad_id,
        settings=warmup,
        max_batch_tokens=settings.max_batch_tokens,
        done=done,
        progress=progress,
    ):
        write_checkpoint(folder / WARMUP / state.checkpoint.name, state, _plain(config))


def trained(model: PeftModel, folder: Path, *, needs_moments: bool = True) -> list[AdapterState]:
    """The checkpoints that the warm-up of a store has left, in order."""
    folders = [p for p in (folder / WARMUP).glob("*") if (p / "trainer_state.json").is_file()]
    if not folders:
        return []
    return read_checkpoints(
        checkpoint_folders(folders), shapes_of(model), needs_moments=needs_moments
    )


def shapes_of(model: PeftModel) -> dict[str, torch.Size]:
    """Shapes of the trainable parameters by name."""
    return {name: parameter.shape for name, parameter in trainable(model)}


def warmup_settings(settings: CollectSettings) -> WarmupSettings:
    """What of a collection's settings is about the warm-up."""
    return WarmupSettings(
        share=settings.warmup_share,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        rise=settings.warmup_ratio,
        seed=settings.seed,
        schedule=settings.schedule,
    )


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """An adapter's configuration as JSON that is the same every time: sets in order."""
    return {
        name: sorted(value) if isinstance(value, set) else getattr(value, "value", value)
        for name, value in sorted(config.items())
    }

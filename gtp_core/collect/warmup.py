"""LoRA warm-up: a short fine-tuning on a share of the pool, which is where gradients are taken."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from gtp_core.collect.checkpoints import AdapterState
from gtp_core.collect.encode import Encoded, batches, mean_losses, pad
from gtp_core.collect.rows import ADAM_BETA2, ADAM_EPS
from gtp_core.store import Checkpoint


@dataclass(frozen=True)
class WarmupSettings:
    """How the warm-up trains; one checkpoint at the end of every epoch.

    `learning_rate` is the peak: linear rise over `rise` of the steps, then the schedule's fall.

    Source: Xia et al. (2024), LESS, section 4.1 (5 % of the pool, 4 epochs, linear schedule).
    """

    share: float = 0.05
    epochs: int = 4
    batch_size: int = 8
    learning_rate: float = 1e-3
    rise: float = 0.03
    seed: int = 0
    schedule: str = "linear"


def add_lora(
    model: nn.Module,
    *,
    rank: int,
    alpha: int,
    target_modules: Sequence[str] | str,
    seed: int = 0,
    dropout: float = 0.0,
) -> PeftModel:
    """The model with fresh LoRA adapters as its only trainable weights.

    Source: Hu et al. (2022), LoRA.
    """
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=target_modules if isinstance(target_modules, str) else list(target_modules),
        lora_dropout=dropout,
        bias="none",
        task_type="CAUSAL_LM",
    )
    return add_adapter(model, config, seed=seed)


def add_adapter(model: nn.Module, config: LoraConfig, *, seed: int = 0) -> PeftModel:
    """The model with the adapter that a configuration describes, fresh and trainable."""
    # peft draws from the global generator, which fork_rng gives back as it was, and reads an
    # attribute that transformers 5.23 has renamed.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def chosen_rows(n_pool: int, settings: WarmupSettings) -> np.ndarray:
    """Which rows of a pool the warm-up trains on, in order."""
    return _drawn(n_pool, settings)[1]


def warm_up(
    model: PeftModel,
    samples: Sequence[Encoded],
    *,
    pad_id: int,
    settings: WarmupSettings,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[AdapterState]:
    """Train the adapter on a seeded share of the samples; its state after every epoch.

    A checkpoint's step size is the mean learning rate of its epoch, which is what weighs it in a
    trajectory. The model is left as the last checkpoint has it.
    """
    chosen = [samples[i] for i in chosen_rows(len(samples), settings)]
    epochs = train_epochs(
        model, chosen, n_pool=len(samples), pad_id=pad_id, settings=settings, progress=progress
    )
    return list(epochs)


def train_epochs(
    model: PeftModel,
    samples: Sequence[Encoded],
    *,
    n_pool: int,
    pad_id: int,
    settings: WarmupSettings,
    max_batch_tokens: int | None = None,
    done: Sequence[AdapterState] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> Iterator[AdapterState]:
    """The adapter's state after every epoch that is not `done` yet.

    Args:
        samples: those of `chosen_rows(n_pool, settings)`.
        max_batch_tokens: a larger batch is taken in pieces, whose gradients add up to the same.
        done: states of earlier epochs, from which training goes on as if it had never stopped.
    """
    generator, _ = _drawn(n_pool, settings)
    optimizer = _optimizer(model, settings)
    if done:
        load_adapter(model, done[-1])
        _restore(model, optimizer, done[-1])
    per_epoch = math.ceil(len(samples) / settings.batch_size)
    total = settings.epochs * per_epoch
    for epoch in range(settings.epochs):
        order = generator.permutation(len(samples))
        if epoch < len(done):
            continue
        rates = []
        with torch.random.fork_rng(devices=_devices(model)):
            torch.manual_seed(settings.seed * 1_000_003 + epoch)  # dropout, wherever it resumes
            for at in range(per_epoch):
                step = epoch * per_epoch + at
                rates.append(rate_at(step, total=total, settings=settings))
                batch = [samples[i] for i in order[at::per_epoch]]
                train_step(
                    model,
                    optimizer,
                    batch,
                    pad_id=pad_id,
                    rate=rates[-1],
                    max_batch_tokens=max_batch_tokens,
                )
                if progress:
                    progress(step + 1, total, "warm-up steps")
        step = (epoch + 1) * per_epoch
        checkpoint = Checkpoint(f"step-{step:05d}", step, float(np.mean(rates)))
        yield _state(model, optimizer, checkpoint, rates)


def rate_at(step: int, *, total: int, settings: WarmupSettings) -> float:
    """The learning rate of a step (0-based): linear rise, then the fall of the schedule."""
    rising = max(1, round(settings.rise * total))
    falling = max(1, total - rising)
    if step < rising:
        share = min(1.0, (step + 1) / rising)
    elif settings.schedule == "constant":
        share = 1.0
    elif settings.schedule == "cosine":
        share = 0.5 * (1 + math.cos(math.pi * (step - rising) / falling))
    else:
        share = min(1.0, (total - step) / falling)
    return settings.learning_rate * share


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Encoded],
    *,
    pad_id: int,
    rate: float,
    max_batch_tokens: int | None = None,
) -> float:
    """One optimizer step on the mean of the batch's losses; that mean, in nats."""
    model.train()
    pieces = [list(range(len(batch)))]
    if max_batch_tokens is not None:
        pieces = list(batches(batch, max_batch_tokens=max_batch_tokens))
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for piece in pieces:
        device = next(model.parameters()).device
        padded = pad([batch[i] for i in piece], pad_id=pad_id, device=device)
        labels = padded.pop("labels")
        losses = mean_losses(model(**padded, use_cache=False).logits, labels)
        loss = losses.mean() if len(pieces) == 1 else losses.sum() / len(batch)
        loss.backward()
        total += loss.item()
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return total


def load_adapter(model: nn.Module, state: AdapterState) -> None:
    """Give the model the adapter weights of a checkpoint."""
    with torch.no_grad():
        for name, parameter in trainable(model):
            parameter.copy_(state.weights[name])


def trainable(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Names and parameters that are trained, in the model's order."""
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


def _drawn(n_pool: int, settings: WarmupSettings) -> tuple[np.random.Generator, np.ndarray]:
    generator = np.random.default_rng(settings.seed)
    count = max(1, round(settings.share * n_pool))
    return generator, np.sort(generator.choice(n_pool, count, replace=False))


def _devices(model: nn.Module) -> list[torch.device]:
    found = {p.device for p in model.parameters()}
    return [device for device in found if device.type == "cuda"]


def _optimizer(model: nn.Module, settings: WarmupSettings) -> torch.optim.Adam:
    parameters = [parameter for _, parameter in trainable(model)]
    betas = (0.9, ADAM_BETA2)
    return torch.optim.Adam(parameters, lr=settings.learning_rate, betas=betas, eps=ADAM_EPS)


def _restore(model: nn.Module, optimizer: torch.optim.Optimizer, state: AdapterState) -> None:
    for name, parameter in trainable(model):
        optimizer.state[parameter] = {
            "step": torch.tensor(float(state.checkpoint.step)),
            "exp_avg": state.first_moment[name].to(parameter).clone(),
            "exp_avg_sq": state.second_moment[name].to(parameter).clone(),
        }


def _state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    checkpoint: Checkpoint,
    rates: Sequence[float],
) -> AdapterState:
    weights = {name: p.detach().clone() for name, p in trainable(model)}
    first, second = (
        {name: optimizer.state[p][key].clone() for name, p in trainable(model)}
        for key in ("exp_avg", "exp_avg_sq")
    )
    return AdapterState(checkpoint, weights, second, first, rates=tuple(rates))

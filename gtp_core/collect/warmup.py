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

from gtp_core.collect.encode import Encoded, mean_losses, pad
from gtp_core.collect.gradients import ADAM_BETA2, ADAM_EPS
from gtp_core.store import Checkpoint


@dataclass(frozen=True)
class WarmupSettings:
    """How the warm-up trains; one checkpoint at the end of every epoch.

    `learning_rate` is the peak: linear rise over `rise` of the steps, then linear fall to zero.

    Source: Xia et al. (2024), LESS, section 4.1 (5 % of the pool, 4 epochs, linear schedule).
    """

    share: float = 0.05
    epochs: int = 4
    batch_size: int = 8
    learning_rate: float = 1e-3
    rise: float = 0.03
    seed: int = 0


@dataclass(frozen=True)
class AdapterState:
    """A warm-up checkpoint: adapter weights and Adam's second moments, by parameter name."""

    checkpoint: Checkpoint
    weights: dict[str, torch.Tensor]
    second_moment: dict[str, torch.Tensor]


def add_lora(
    model: nn.Module, *, rank: int, alpha: int, target_modules: Sequence[str], seed: int = 0
) -> PeftModel:
    """The model with fresh LoRA adapters as its only trainable weights.

    Source: Hu et al. (2022), LoRA.
    """
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=list(target_modules),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    # peft draws from the global generator, which fork_rng gives back as it was, and reads an
    # attribute that transformers 5.23 has renamed.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        torch.manual_seed(seed)
        return get_peft_model(model, config)


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
    generator = np.random.default_rng(settings.seed)
    count = max(1, round(settings.share * len(samples)))
    chosen = np.sort(generator.choice(len(samples), count, replace=False))
    per_epoch = math.ceil(count / settings.batch_size)
    optimizer = _optimizer(model, settings)
    states = []
    for epoch in range(settings.epochs):
        rates = []
        order = generator.permutation(chosen)
        for at in range(per_epoch):
            step = epoch * per_epoch + at
            rates.append(rate_at(step, total=settings.epochs * per_epoch, settings=settings))
            batch = [samples[i] for i in order[at::per_epoch]]
            train_step(model, optimizer, batch, pad_id=pad_id, rate=rates[-1])
            if progress:
                progress(step + 1, settings.epochs * per_epoch, "warm-up steps")
        step = (epoch + 1) * per_epoch
        checkpoint = Checkpoint(f"step-{step:05d}", step, float(np.mean(rates)))
        states.append(_state(model, optimizer, checkpoint))
    return states


def rate_at(step: int, *, total: int, settings: WarmupSettings) -> float:
    """The learning rate of a step (0-based): linear rise, then linear fall to zero."""
    rising = max(1, round(settings.rise * total))
    falling = max(1, total - rising)
    share = (step + 1) / rising if step < rising else (total - step) / falling
    return settings.learning_rate * min(1.0, share)


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Encoded],
    *,
    pad_id: int,
    rate: float,
) -> float:
    """One optimizer step on the mean of the batch's losses; that mean, in nats."""
    model.train()
    padded = pad(batch, pad_id=pad_id)
    labels = padded.pop("labels")
    loss = mean_losses(model(**padded, use_cache=False).logits, labels).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return loss.item()


def load_adapter(model: nn.Module, state: AdapterState) -> None:
    """Give the model the adapter weights of a checkpoint."""
    with torch.no_grad():
        for name, parameter in _trainable(model):
            parameter.copy_(state.weights[name])


def _optimizer(model: nn.Module, settings: WarmupSettings) -> torch.optim.Adam:
    parameters = [parameter for _, parameter in _trainable(model)]
    betas = (0.9, ADAM_BETA2)
    return torch.optim.Adam(parameters, lr=settings.learning_rate, betas=betas, eps=ADAM_EPS)


def _state(
    model: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Checkpoint
) -> AdapterState:
    weights = {name: parameter.detach().clone() for name, parameter in _trainable(model)}
    moments = {
        name: optimizer.state[parameter]["exp_avg_sq"].clone()
        for name, parameter in _trainable(model)
    }
    return AdapterState(checkpoint, weights, moments)


def _trainable(model: nn.Module) -> Iterator[tuple[str, Any]]:
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)

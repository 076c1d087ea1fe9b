"""Fine-tune an adapter on a subset, its samples' losses counted by their weights."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from gtp_core.collect.encode import Encoded, batches, mean_losses, pad
from gtp_core.collect.rows import ADAM_BETA2, ADAM_EPS
from gtp_core.collect.warmup import WarmupSettings, rate_at, trainable
from gtp_core.verify.settings import VerifySettings

Tick = Callable[[int], None]


def steps_of(n_samples: int, settings: VerifySettings) -> int:
    """Optimizer steps on so many samples: those that are told, or of the epochs."""
    return settings.steps or settings.epochs * math.ceil(n_samples / settings.batch_size)


def marks_of(steps: int, settings: VerifySettings) -> list[int]:
    """After which steps the test loss is taken, evenly, the last at their end."""
    points = min(settings.points, steps)
    return [round(steps * (at + 1) / points) for at in range(points)]


def samples_seen(n_samples: int, settings: VerifySettings) -> int:
    """How many samples, repeated ones each time, training goes through."""
    per_epoch = math.ceil(n_samples / settings.batch_size)
    whole, rest = divmod(steps_of(n_samples, settings), per_epoch)
    sizes = [len(range(at, n_samples, per_epoch)) for at in range(rest)]
    return whole * n_samples + sum(sizes)


def train(
    model: Any,
    samples: Sequence[Encoded],
    weights: np.ndarray,
    *,
    settings: VerifySettings,
    seed: int,
    pad_id: int,
    tick: Tick,
) -> Iterator[tuple[int, float]]:
    """Train in place; yields step and mean training loss since the last, wherever marks ask.

    A step follows the mean over its batch of weight times loss. With weights of mean one the
    gradient of an epoch is that of the weighted sum over the subset. Order and dropout come from
    the seed alone, so two subsets of one size meet the same order of places.

    Args:
        weights: (n_samples,), of mean one.
        tick: told after every step how many samples it took.
    """
    total = steps_of(len(samples), settings)
    marks = set(marks_of(total, settings))
    schedule = WarmupSettings(
        learning_rate=settings.learning_rate,
        rise=settings.warmup_ratio,
        schedule=settings.schedule,
    )
    parameters = [parameter for _, parameter in trainable(model)]
    optimizer = torch.optim.Adam(
        parameters, lr=settings.learning_rate, betas=(0.9, ADAM_BETA2), eps=ADAM_EPS
    )
    order, losses = _batches(len(samples), settings.batch_size, seed), []
    torch.manual_seed(seed)
    for step in range(total):
        places = next(order)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, total=total, settings=schedule)
        losses.append(
            _step(
                model,
                optimizer,
                [samples[i] for i in places],
                weights[places],
                pad_id=pad_id,
                most=settings.max_batch_tokens,
            )
        )
        tick(len(places))
        if step + 1 in marks:
            yield step + 1, float(np.mean(losses))
            losses.clear()


def _step(
    model: Any,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Encoded],
    weights: np.ndarray,
    *,
    pad_id: int,
    most: int,
) -> float:
    """One step on the mean of the weighted losses; that mean, in nats."""
    model.train()
    optimizer.zero_grad(set_to_none=True)
    device, total = next(model.parameters()).device, 0.0
    for piece in batches(batch, max_batch_tokens=most):
        padded = pad([batch[i] for i in piece], pad_id=pad_id, device=device)
        labels = padded.pop("labels")
        losses = mean_losses(model(**padded, use_cache=False).logits, labels)
        counted = torch.as_tensor(weights[piece], dtype=losses.dtype, device=device)
        loss = (losses * counted).sum() / len(batch)
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total


def _batches(n_samples: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Places of one batch after another: every sample once in an epoch, in an order of its own."""
    generator = np.random.default_rng(seed)
    per_epoch = math.ceil(n_samples / size)
    while True:
        order = generator.permutation(n_samples)
        for at in range(per_epoch):
            yield order[at::per_epoch]

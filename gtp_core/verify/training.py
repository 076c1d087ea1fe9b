"""Fine-tune an adapter on a subset, its samples' losses counted by their weights."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

from gtp_core.collect.encode import Encoded, batches, mean_losses, pad
from gtp_core.collect.rows import ADAM_BETA2, ADAM_EPS
from gtp_core.collect.warmup import WarmupSettings, rate_at, trainable
from gtp_core.verify.resuming import Resumable
from gtp_core.verify.settings import VerifySettings
from gtp_core.verify.steps import marks_of, places_in_order, steps_of

Tick = Callable[[int], None]


def train(
    model: Any,
    samples: Sequence[Encoded],
    weights: np.ndarray,
    *,
    settings: VerifySettings,
    seed: int,
    pad_id: int,
    tick: Tick,
    state: Resumable | None = None,
) -> Iterator[tuple[int, float]]:
    """Train in place; yields step and mean training loss since the last, wherever marks ask.

    A step follows the mean over its batch of weight times loss. With weights of mean one the
    gradient of an epoch is that of the weighted sum over the subset. Order and dropout come from
    the seed alone, so two subsets of one size meet the same order of places.

    Args:
        weights: (n_samples,), of mean one.
        tick: told after every step how many samples it took.
        state: where it goes on from, and what is told after every step.
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
    order = places_in_order(len(samples), settings.batch_size, seed)
    torch.manual_seed(seed)
    state = state or Resumable()
    state.watch(model, optimizer)
    begun = state.step
    if begun in marks:  # cut off while this point was taken, or after it
        yield begun, float(np.mean(state.losses))
    for step, places in enumerate(islice(order, begun, total), start=begun):
        if step in marks:
            state.losses.clear()
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, total=total, settings=schedule)
        state.begins_a_step()
        loss = _step(
            model,
            optimizer,
            [samples[i] for i in places],
            weights[places],
            pad_id=pad_id,
            most=settings.max_batch_tokens,
        )
        state.ended_a_step(loss)
        tick(len(places))
        if step + 1 in marks:
            yield step + 1, float(np.mean(state.losses))


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

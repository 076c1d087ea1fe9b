"""How much training and asking a trial is: counted beforehand, without any library of training."""

import math
from collections.abc import Iterator
from itertools import islice

import numpy as np

from gtp_core.verify.settings import VerifySettings


def steps_of(n_samples: int, settings: VerifySettings) -> int:
    """Optimizer steps on so many samples: those that are told, or of the epochs."""
    return settings.steps or settings.epochs * math.ceil(n_samples / settings.batch_size)


def marks_of(steps: int, settings: VerifySettings) -> list[int]:
    """After which steps the test loss is taken, evenly, the last at their end."""
    points = min(settings.points, steps)
    return [round(steps * (at + 1) / points) for at in range(points)]


def samples_seen(n_samples: int, settings: VerifySettings) -> int:
    """How many samples, repeated ones each time, training goes through."""
    return _seen(n_samples, steps_of(n_samples, settings), settings.batch_size)


def samples_left(n_samples: int, settings: VerifySettings, step: int) -> int:
    """How many of them come after a step."""
    return samples_seen(n_samples, settings) - _seen(n_samples, step, settings.batch_size)


def samples_met(n_samples: int, steps: int, batch_size: int) -> int:
    """How many different samples so many steps come by: all of them from one epoch on."""
    per_epoch = math.ceil(n_samples / batch_size)
    return n_samples if steps >= per_epoch else _seen(n_samples, steps, batch_size)


def places_in_order(n_samples: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Places of one batch after another: every sample once in an epoch, in an order of its own."""
    generator = np.random.default_rng(seed)
    per_epoch = math.ceil(n_samples / size)
    while True:
        order = generator.permutation(n_samples)
        for at in range(per_epoch):
            yield order[at::per_epoch]


def places_met(n_samples: int, settings: VerifySettings, seed: int) -> np.ndarray:
    """The places that training comes by, ascending: of a large pool in few steps only some."""
    batches = places_in_order(n_samples, settings.batch_size, seed)
    return np.unique(np.concatenate(list(islice(batches, steps_of(n_samples, settings)))))


def _seen(n_samples: int, steps: int, batch_size: int) -> int:
    per_epoch = math.ceil(n_samples / batch_size)
    whole, rest = divmod(steps, per_epoch)
    sizes = [len(range(at, n_samples, per_epoch)) for at in range(rest)]
    return whole * n_samples + sum(sizes)

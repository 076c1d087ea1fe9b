"""The same bytes every time, on one machine: torch's seed, threads and algorithms held fixed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_DETERMINISTIC: Any = torch.utils.deterministic


@contextmanager
def repeatable(*, seed: int, threads: int = 1, strict: bool = True) -> Iterator[None]:
    """Inside, torch gives the same bytes every time on one machine; outside, nothing changes.

    The number of threads decides in which order sums are taken, so it is part of the recipe.
    Not `strict`: operations that have no such form go on as they are.
    """
    before, exact = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = _DETERMINISTIC.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True, warn_only=not strict)
        # Nothing here reads memory before it is written; filling it first is only slow.
        _DETERMINISTIC.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.set_num_threads(before)
            torch.use_deterministic_algorithms(exact)
            _DETERMINISTIC.fill_uninitialized_memory = filled

"""The processes of one collection: one, or as many as `accelerate launch` has started."""

import os
from datetime import timedelta
from typing import Any

import torch
from accelerate import PartialState

from gtp_core.errors import CollectError

PATIENCE = timedelta(days=14)
"""How long a process waits: the first reads the pool and warms up alone, torch's own is minutes."""


class World:
    """Which of how many processes this is, on which device.

    Attributes:
        index, count: of this process, from 0, and of all.
        device: where this process computes.
    """

    def __init__(self, device: str = "auto") -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise CollectError(f"device {device!r} is unknown; it can be auto, cpu or cuda.")
        if device == "cuda" and not torch.cuda.is_available():
            raise CollectError("torch sees no CUDA device; use --device cpu, or mend the driver.")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._state: Any = None
        self.index, self.count = 0, 1
        self.device = torch.device(device)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            self._state = PartialState(cpu=device == "cpu", timeout=PATIENCE)
            self.index, self.count = self._state.process_index, self._state.num_processes
            self.device = self._state.device

    @property
    def is_first(self) -> bool:
        return self.index == 0

    def wait(self) -> None:
        """Until every process is here."""
        if self._state is not None:
            self._state.wait_for_everyone()

    def close(self) -> None:
        """Leave the group of processes, after all have come."""
        if self._state is not None:
            self.wait()
            self._state.destroy_process_group()

"""A trial that was cut off goes on between the two steps where it was last saved."""

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from gtp_core.collect.warmup import trainable
from gtp_core.store import written_whole

_MOMENTS = ("exp_avg", "exp_avg_sq")
_CPU, _CUDA = "random.cpu", "random.cuda"


class Resumable:
    """Where a trial stands after its last whole step, in a file of its own while it runs.

    Adapter, Adam's moments, the step, losses and points so far and the state of torch's generator
    are all that training goes on from: it ends with the bytes of one that was never cut off.
    Plain tensors and JSON (safetensors): nothing in the file is ever executed.

    Args:
        path: of the file; without one nothing is saved.
        subset: digest of what is trained on; a file of another subset is not gone on from.
        every: seconds between two saves.

    Attributes:
        step: steps that are done.
        losses: of training since the last point of the curve, those of a point just taken too.
        curve: points so far.
        seconds: that the trial had taken when it was cut off.
    """

    def __init__(
        self, path: Path | None = None, subset: str = "", *, every: float = math.inf
    ) -> None:
        self._path, self._subset, self._every = path, subset, every
        self.step = 0
        self.losses: list[float] = []
        self.curve: list[dict[str, Any]] = []
        self.seconds = 0.0
        self._began = self._saved = time.perf_counter()
        self._whole = False
        self._model: Any = None
        self._optimizer: Any = None

    def watch(self, model: Any, optimizer: torch.optim.Optimizer) -> None:
        """From now on it stands for these; they are given what was saved, if that is usable."""
        self._model, self._optimizer = model, optimizer
        self._began = self._saved = time.perf_counter()
        found = self._read()
        if found is None:
            return
        told, tensors = found
        for name, parameter in trainable(model):
            with torch.no_grad():
                parameter.copy_(tensors[f"weight.{name}"])
            moments = {m: tensors[f"{m}.{name}"].to(parameter.device) for m in _MOMENTS}
            optimizer.state[parameter] = {"step": torch.tensor(float(told["step"])), **moments}
        torch.set_rng_state(tensors[_CPU])
        if _CUDA in tensors and _on_cuda(model):
            torch.cuda.set_rng_state(tensors[_CUDA])
        self.step, self.losses = told["step"], told["losses"]
        # A point at this very step may be told or not; it is taken again.
        self.curve = [point for point in told["curve"] if point["step"] < self.step]
        self.seconds = told["seconds"]
        self._whole = True

    def begins_a_step(self) -> None:
        """What the model holds until `ended_a_step` is neither the one nor the other."""
        self._whole = False

    def ended_a_step(self, loss: float) -> None:
        """Count it; saved if the last time is long enough ago."""
        self.step += 1
        self.losses.append(loss)
        self._whole = True
        if time.perf_counter() - self._saved >= self._every:
            self.save()

    def save(self) -> None:
        """Write where it stands; nothing inside a step, when the model is half updated."""
        if not self._whole or self._path is None:
            return
        tensors = {_CPU: torch.get_rng_state()}
        if _on_cuda(self._model):
            tensors[_CUDA] = torch.cuda.get_rng_state()
        for name, parameter in trainable(self._model):
            tensors[f"weight.{name}"] = parameter.detach()
            moments = self._optimizer.state[parameter]
            tensors |= {f"{moment}.{name}": moments[moment] for moment in _MOMENTS}
        told = {
            "subset": self._subset,
            "step": self.step,
            "losses": self.losses,
            "curve": self.curve,
            "seconds": self.taken(),
        }
        plain = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
        with written_whole(self._path) as temporary:
            save_file(plain, temporary, metadata={"told": json.dumps(told)})
        self._saved = time.perf_counter()

    def taken(self) -> float:
        """Seconds that the trial has taken, those before it was cut off included."""
        return self.seconds + time.perf_counter() - self._began

    def clear(self) -> None:
        """The trial is done and kept: take its file away."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _read(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
        """What was saved of this subset; None where it is missing, damaged or of another model."""
        if self._path is None:
            return None
        try:
            with safe_open(self._path, "pt") as file:
                told = json.loads(file.metadata()["told"])
                names = list(file.keys())
                tensors = {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None
        shapes = {name: parameter.shape for name, parameter in trainable(self._model)}
        wanted = {f"{kind}.{n}": shapes[n] for kind in ("weight", *_MOMENTS) for n in shapes}
        fits = all(n in tensors and tensors[n].shape == wanted[n] for n in wanted)
        return (told, tensors) if fits and told.get("subset") == self._subset else None


def standing(path: Path, subset: str) -> int:
    """How many steps of a trial are saved, without its tensors; 0 without a usable file."""
    try:
        with safe_open(path, "pt") as file:
            told = json.loads(file.metadata()["told"])
        return int(told["step"]) if told["subset"] == subset else 0
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return 0


def _on_cuda(model: Any) -> bool:
    return next(model.parameters()).device.type == "cuda"

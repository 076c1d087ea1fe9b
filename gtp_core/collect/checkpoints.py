"""Checkpoints of LoRA training on disk: ours, the Trainer's, and FSDP's."""

import hashlib
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from gtp_core.collect.rows import ADAM_BETA2, ADAM_EPS, Moments
from gtp_core.errors import CollectError
from gtp_core.store import Checkpoint, write_json, written_whole

CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_OPTIMIZERS = ("optimizer.safetensors", "optimizer.pt", "optimizer.bin")
_STATE = "trainer_state.json"
_WRAPPERS = ("_fsdp_wrapped_module.", "_orig_mod.", "module.")


@dataclass(frozen=True)
class AdapterState:
    """A checkpoint of training: adapter weights and Adam's moments, by parameter name.

    `rates` are the learning rates of the steps since the checkpoint before.
    """

    checkpoint: Checkpoint
    weights: dict[str, torch.Tensor]
    second_moment: dict[str, torch.Tensor]
    first_moment: dict[str, torch.Tensor] = field(default_factory=dict)
    beta2: float = ADAM_BETA2
    eps: float = ADAM_EPS
    rates: tuple[float, ...] = ()

    def moments(self, names: Sequence[str], device: torch.device | None = None) -> Moments | None:
        """Adam's moments end to end in the order of a gradient row; None without any."""
        if not self.second_moment:
            return None
        first = self.first_moment or {n: torch.zeros_like(m) for n, m in self.second_moment.items()}
        return Moments(
            flat(first, names).to(device),
            flat(self.second_moment, names).to(device),
            self.checkpoint.step,
            self.beta2,
            self.eps,
        )


def flat(tensors: Mapping[str, torch.Tensor], names: Sequence[str]) -> torch.Tensor:
    """The named tensors end to end, in the order of a gradient row."""
    return torch.cat([tensors[name].flatten() for name in names])


def write_checkpoint(folder: Path, state: AdapterState, config: Mapping[str, Any]) -> None:
    """Write a checkpoint of the warm-up in the Trainer's layout, but without pickle.

    `trainer_state.json` comes last: a folder that has one is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, config)
    weights = {name.replace(".default.", "."): w.cpu() for name, w in state.weights.items()}
    moments = {f"exp_avg.{n}": m.cpu() for n, m in state.first_moment.items()}
    moments |= {f"exp_avg_sq.{n}": m.cpu() for n, m in state.second_moment.items()}
    told = {"step": str(state.checkpoint.step), "beta2": str(state.beta2), "eps": str(state.eps)}
    for name, tensors in ((_WEIGHTS[0], weights), (_OPTIMIZERS[0], moments)):
        with written_whole(folder / name) as temporary:
            whole = {n: t.contiguous() for n, t in tensors.items()}
            # One entry of metadata only: several are written in an order that changes.
            save_file(whole, temporary, metadata={"gtp": json.dumps(told)})
    step = state.checkpoint.step
    history = [
        {"step": step - len(state.rates) + 1 + at, "learning_rate": rate}
        for at, rate in enumerate(state.rates)
    ]
    write_json(folder / _STATE, {"global_step": step, "log_history": history})


def checkpoint_folders(given: Sequence[Path]) -> list[Path]:
    """Folders of checkpoints in training order; a folder that holds some stands for all of them.

    Raises:
        CollectError: a folder without an adapter in it or below it, or two of the same step.
    """
    found = []
    for folder in given:
        inside = [folder] if (folder / CONFIG).is_file() else []
        inside = inside or [path.parent for path in folder.glob(f"*/{CONFIG}")]
        inside = [path for path in inside if (path / _STATE).is_file()]
        if not inside:
            raise CollectError(
                f"{folder} has no checkpoint of LoRA training, in it or one folder below; one has "
                f"{CONFIG} and {_STATE}. Give the folder the Trainer wrote them to."
            )
        found += inside
    steps = {folder: int(_state(folder)["global_step"]) for folder in found}
    if len(set(steps.values())) < len(found):
        raise CollectError(
            f"two checkpoints are of the same step ({sorted(steps.values())}). Give each once."
        )
    return sorted(found, key=lambda folder: steps[folder])


def read_checkpoints(
    folders: Sequence[Path], shapes: Mapping[str, torch.Size], *, needs_moments: bool
) -> list[AdapterState]:
    """Checkpoints of training, each with its step size: the mean learning rate since the last.

    Args:
        shapes: of the trainable parameters by name, in the model's order.
        needs_moments: whether gradient rows will ask for Adam's state.

    Raises:
        CollectError: weights, optimizer state or learning rates that are missing or do not fit.
    """
    states: list[AdapterState] = []
    for folder in folders:
        since = states[-1].checkpoint.step if states else 0
        states.append(read_checkpoint(folder, shapes, since=since, needs_moments=needs_moments))
    return states


def read_checkpoint(
    folder: Path, shapes: Mapping[str, torch.Size], *, since: int = 0, needs_moments: bool = True
) -> AdapterState:
    """One checkpoint; `since` is the step of the one before."""
    state = _state(folder)
    step = int(state["global_step"])
    rates = _rates(state, since=since, step=step)
    if not rates:
        raise CollectError(
            f"{folder / _STATE} logs no learning rate between steps {since} and {step}, so the "
            "checkpoint has no step size. Train with logging_steps of at most one epoch."
        )
    weights = adapter_weights(folder, shapes)
    moments: dict[str, Any] = {"second_moment": {}}
    if needs_moments:
        moments = _optimizer_moments(folder, shapes)
    checkpoint = Checkpoint(f"step-{step:05d}", step, float(np.mean(rates)))
    return AdapterState(checkpoint, weights, rates=tuple(rates), **moments)


def checkpoints_digest(folders: Sequence[Path]) -> str:
    """SHA-256 over all that gradients depend on: adapters, optimizer states, learning rates."""
    digest = hashlib.sha256()
    for folder in folders:
        for name in (CONFIG, *_WEIGHTS, *_OPTIMIZERS, _STATE):
            if (folder / name).is_file():
                digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _state(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        int(found["global_step"])
        list(found["log_history"])
    except (OSError, ValueError, KeyError, TypeError):
        raise CollectError(
            f"{folder / _STATE} is missing or damaged; step and step size are read from its "
            "global_step and log_history. Restore the file."
        ) from None
    return found


def _rates(state: Mapping[str, Any], *, since: int, step: int) -> list[float]:
    return [
        float(entry["learning_rate"])
        for entry in state["log_history"]
        if "learning_rate" in entry and since < entry["step"] <= step
    ]


def adapter_weights(folder: Path, shapes: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    """An adapter's weights by the names of the model's parameters."""
    for name in _WEIGHTS:
        if (folder / name).is_file():
            found = {_parameter_name(k): t for k, t in _tensors(folder / name).items()}
            return _fitting(found, shapes, folder)
    raise CollectError(f"{folder} has neither {_WEIGHTS[0]} nor {_WEIGHTS[1]}. Restore it.")


def _optimizer_moments(folder: Path, shapes: Mapping[str, torch.Size]) -> dict[str, Any]:
    path = next((folder / n for n in _OPTIMIZERS if (folder / n).is_file()), None)
    if path is None:
        raise CollectError(
            f"{folder} has no optimizer state ({', '.join(_OPTIMIZERS)}), which adam rows need. "
            "Save it in training (save_only_model=False), or use --gradients sgd."
        )
    if path.suffix == ".safetensors":
        tensors = _tensors(path)
        with safe_open(path, framework="pt") as handle:
            told = json.loads(handle.metadata()["gtp"])
        parts = {
            kind: {n.removeprefix(f"{kind}."): t for n, t in tensors.items() if n.startswith(kind)}
            for kind in ("exp_avg.", "exp_avg_sq.")
        }
        first = {n.removeprefix("exp_avg."): t for n, t in parts["exp_avg."].items()}
        second = {n.removeprefix("exp_avg_sq."): t for n, t in parts["exp_avg_sq."].items()}
        beta2, eps = float(told["beta2"]), float(told["eps"])
    else:
        first, second, beta2, eps = _torch_moments(_tensors(path), list(shapes), path)
    return {
        "first_moment": _fitting(first, shapes, path),
        "second_moment": _fitting(second, shapes, path),
        "beta2": beta2,
        "eps": eps,
    }


def _torch_moments(
    document: Mapping[str, Any], names: Sequence[str], path: Path
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], float, float]:
    """Moments of a torch optimizer's state, whose keys are numbers or names."""
    try:
        groups = document["param_groups"]
        keys = [key for group in groups for key in group["params"]]
        listed = [name for group in groups for name in group.get("param_names", ())]
        # Numbers count through the groups; a Trainer's first group holds LoRA weights, in order.
        known = dict(zip(keys, listed or names, strict=False))
        named = {
            _parameter_name(key if isinstance(key, str) else known[key]): entry
            for key, entry in document["state"].items()
        }
        first = {name: entry["exp_avg"] for name, entry in named.items()}
        second = {name: entry["exp_avg_sq"] for name, entry in named.items()}
        group = next(group for group in groups if group["params"])
        return first, second, float(group["betas"][1]), float(group["eps"])
    except (KeyError, TypeError, StopIteration, AttributeError):
        raise CollectError(
            f"{path} holds no state of Adam (exp_avg and exp_avg_sq per parameter), which adam "
            "rows need. Train with AdamW, or use --gradients sgd."
        ) from None


def _parameter_name(key: str) -> str:
    """A parameter's name in the model, from the names that PEFT, FSDP and DDP write."""
    for wrapper in _WRAPPERS:
        key = key.replace(wrapper, "")
    key = key if key.startswith("base_model.model.") else f"base_model.model.{key}"
    for side in ("lora_A", "lora_B"):
        key = key.replace(f".{side}.weight", f".{side}.default.weight")
    return key


def _fitting(
    found: Mapping[str, torch.Tensor], shapes: Mapping[str, torch.Size], path: Path
) -> dict[str, torch.Tensor]:
    wrong = next((n for n, s in shapes.items() if n not in found or found[n].shape != s), None)
    if wrong or len(found) != len(shapes):
        name = wrong or next(n for n in found if n not in shapes)
        raise CollectError(
            f"{path} does not fit the model: {name} is "
            f"{tuple(found[name].shape) if name in found else 'missing'}; wanted "
            f"{tuple(shapes[name]) if name in shapes else 'no such parameter'}. Give the "
            "checkpoints of a LoRA adapter of this model."
        )
    return {name: found[name].float() for name in shapes}


def _tensors(path: Path) -> Any:
    """What a file of tensors holds; code in a pickle is never run."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError):
        raise CollectError(
            f"{path} cannot be read as tensors alone; it is damaged, or holds code. "
            "Restore the file."
        ) from None

"""Step sizes of checkpoints: what a trainer wrote down, or what the user says."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gtp_core.errors import SourceError
from gtp_core.importers.folders import pairs
from gtp_core.importers.register import Asked
from gtp_core.store import Checkpoint


def checkpoints_of(
    named: Sequence[tuple[str, int]], asked: Asked, *, equal: bool = False
) -> tuple[tuple[Checkpoint, ...], dict[str, Any]]:
    """Checkpoints with step sizes, and what of them is declared by the user.

    Args:
        named: name and step of each, in training order.
        asked: `step_size` and `checkpoints` are used.
        equal: whether the producer weighs all the same, so that nobody needs to say.

    Raises:
        SourceError: nobody says the step sizes, or what is said does not fit.
    """
    told = pairs("--step-size", asked.step_size)
    if told:
        sizes = [_told(told, name, step) for name, step in named]
        _refuse_unknown(told, named)
        return _made(named, sizes), {"step_sizes": sizes}
    if asked.checkpoints is not None:
        folder = Path(asked.checkpoints)
        sizes = [mean_learning_rate(folder, step) for _, step in named]
        return _made(named, sizes), {"step_sizes_from": str(folder.name)}
    if equal or len(named) == 1:
        return _made(named, [1.0] * len(named)), {}
    names = ", ".join(name for name, _ in named)
    raise SourceError(
        f"the source does not say the step sizes of its checkpoints ({names}). Give --checkpoints "
        "FOLDER with their trainer_state.json, or --step-size NAME=VALUE each, or "
        "--step-size all=1."
    )


def _told(told: dict[str, str], name: str, step: int) -> float:
    text = next((told[key] for key in (name, str(step), "all") if key in told), None)
    if text is None:
        raise SourceError(
            f"--step-size does not say that of {name}. Give --step-size {name}=VALUE."
        )
    try:
        return float(text)
    except ValueError:
        raise SourceError(f"--step-size {name}={text} is not a number. Give a number.") from None


def _refuse_unknown(told: dict[str, str], named: Sequence[tuple[str, int]]) -> None:
    known = {"all", *(name for name, _ in named), *(str(step) for _, step in named)}
    wrong = next((key for key in told if key not in known), None)
    if wrong is not None:
        names = ", ".join(name for name, _ in named)
        raise SourceError(f"--step-size names {wrong!r}; the checkpoints are {names}. Name one.")


def _made(named: Sequence[tuple[str, int]], sizes: Sequence[float]) -> tuple[Checkpoint, ...]:
    pairs_ = zip(named, sizes, strict=True)
    return tuple(Checkpoint(name, step, size) for (name, step), size in pairs_)


def mean_learning_rate(folder: Path, step: int) -> float:
    """The mean learning rate of the epoch that ended in a checkpoint (LESS's weight of it).

    Args:
        folder: holds `checkpoint-<step>/trainer_state.json`, or is that folder itself.
    """
    path = _trainer_state(folder, step)
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        log = [
            (float(entry["epoch"]), float(entry["learning_rate"]))
            for entry in state["log_history"]
            if "learning_rate" in entry
        ]
        epoch = float(state["epoch"])
        rates = [rate for at, rate in log if _epoch(at) == _epoch(epoch)]
        mean = math.fsum(rates) / len(rates)
    except (ValueError, KeyError, TypeError, ZeroDivisionError, OverflowError, RecursionError):
        raise SourceError(
            f"{path} does not log the learning rates of its epoch. Give --step-size instead."
        ) from None
    return mean


def _epoch(at: float) -> int:
    return math.ceil(at - 1e-6)


def _trainer_state(folder: Path, step: int) -> Path:
    found = [p for p in sorted(folder.glob("*/trainer_state.json")) if _step(p.parent.name) == step]
    if _step(folder.name) == step and (folder / "trainer_state.json").is_file():
        found.append(folder / "trainer_state.json")
    if len(found) != 1:
        raise SourceError(
            f"{folder} has {len(found)} folders with a trainer_state.json for step {step}; wanted "
            f"is one, like checkpoint-{step}. Give another folder, or --step-size."
        )
    return found[0]


def _step(name: str) -> int | None:
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]) if numbers else None

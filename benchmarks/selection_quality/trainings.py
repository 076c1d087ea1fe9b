"""Everything a trial computes, each piece a file that is kept and found again."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.selection_quality.grounds import Ground
from benchmarks.selection_quality.ways import FULL, WAYS, choice, whole
from gtp_core.store import write_json
from gtp_core.verify.arms import Subset
from gtp_core.verify.examples import TestSet
from gtp_core.verify.settings import as_collected
from gtp_core.verify.trainer import Trainer

BASE = "base"
DIGITS = 24  # of a subset's digest, in names of files
LAST = 5  # percent: larger budgets come when all seeds of the others are done


@dataclass(frozen=True)
class Cell:
    """One number of the trial: whom a way chooses for a task, trained with a seed."""

    task: str
    way: str
    share: float
    seed: int

    @property
    def choice(self) -> str:
        """Name of the file of what was chosen: drawn ways choose anew with every seed."""
        drawn = f".{self.seed}" if WAYS[self.way].drawn else ""
        way = self.way.replace(",", "").replace(" ", "_")
        return f"{self.task}.{way}.{self.share:g}{drawn}.json"


def cells(
    tasks: Sequence[str], ways: Sequence[str], shares: Sequence[float], seeds: int
) -> Iterator[Cell]:
    """All cells, seed by seed up to LAST percent, and then those above it."""
    for late in (False, True):
        for seed in range(seeds):
            for share in (s for s in shares if (s > LAST) == late):
                yield from (Cell(task, way, share, seed) for way in ways for task in tasks)


class Bench:
    """Chooses, trains and asks what is not there yet."""

    def __init__(self, ground: Ground, work: Path) -> None:
        self._ground, self._work = ground, work
        self._trainers: dict[str, Trainer] = {}
        write_json(work / "settings.json", dict(ground.training))

    def base(self) -> None:
        """Ask the model as it is."""
        self._train(None, 0, BASE)

    def full(self, seed: int) -> None:
        """Train on the whole pool."""
        self._train(whole(self._ground), seed, FULL)

    def cell(self, cell: Cell) -> None:
        """Choose and train, where either is missing."""
        path = self._work / "choices" / cell.choice
        found = read(path)
        if found is None:
            found = choice(self._ground, cell.task, cell.way, cell.share, cell.seed) or {"rows": []}
            if found["rows"]:
                found["subset"] = subset_of(found).digest()
            write_json(path, found)
        if found["rows"]:
            name = found["subset"][:DIGITS]
            self._train(
                subset_of(found), cell.seed, name, "" if WAYS[cell.way].apart else cell.task
            )

    def _train(self, subset: Subset | None, seed: int, name: str, task: str = "") -> None:
        """Train, and ask the task's test; every task's where none is named."""
        path = self._work / "trainings" / f"{name}.{seed}.json"
        known = read(path)
        if known and known["loss"].keys() >= ({task} if task else self._ground.tests.keys()):
            return
        start = time.perf_counter()
        trainer = self._asking("" if known else task)  # several tasks' subset: ask them all
        found = trainer.trial(subset, seed, _quiet)
        told = {"loss": found["by_subtask"], "samples": found["n_samples"], "steps": found["steps"]}
        write_json(path, {**told, "seconds": round(time.perf_counter() - start, 1)})

    def _asking(self, task: str) -> Trainer:
        if task not in self._trainers:
            ground = self._ground
            asked = [task] if task else [*ground.tests]
            self._trainers[task] = Trainer(
                ground.catalog,
                ground.model,
                as_collected(ground.catalog.store, ground.training),
                TestSet(tuple(record for t in asked for record in ground.tests[t]), (), ""),
                device=torch.device("cpu"),
            )
        return self._trainers[task]


def _quiet(*_: object) -> None:
    """Nobody watches a single training."""


def subset_of(found: dict[str, Any]) -> Subset:
    """What a choice is trained on."""
    return Subset(np.array(found["rows"]), np.array(found["weights"], np.float64))


def read(path: Path) -> dict[str, Any] | None:
    """What is kept there; None where there is nothing."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

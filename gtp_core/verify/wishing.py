"""What a page asks to be verified, and what of it is kept; no library of training is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gtp_core.catalog import Catalog
from gtp_core.catalog.trials import kept_trials
from gtp_core.store import Store, sha256
from gtp_core.verify.settings import VerifySettings, as_collected
from gtp_core.verify.sources import files_of, tasks_of
from gtp_core.verify.steps import steps_of
from gtp_core.verify.telling import BASE, FULL, how_trained, subsets_in

_WORDS = {"max_test": "most test examples", "weighted": "weighted loss"}


@dataclass(frozen=True)
class Kept:
    """A verification as it stands on disk: what was asked, and every whole trial."""

    key: str
    plan: Mapping[str, Any]
    trials: tuple[dict[str, Any], ...]

    @property
    def title(self) -> str:
        """It among others, in a few words."""
        settings, n_test = self.plan["settings"], self.plan.get("n_test")
        times = (
            f"{settings['steps']:,} steps"
            if settings["steps"]
            else f"{settings['epochs']:,} epochs"
        )
        loss = "weighted" if settings["weighted"] else "unweighted"
        asked = f", {n_test:,} test examples" if n_test else ""
        models = sum(trial["arm"] != BASE for trial in self.trials)
        subsets = len(subsets_in(self.trials))
        return f"{times}, {loss}{asked}: {models:,} models of {subsets:,} subsets ({self.key[:6]})"

    @property
    def told(self) -> list[str]:
        """How it was trained, and what was to be said whatever came out."""
        return [how_trained(self.plan["settings"]), *self.plan.get("notes", ())]

    def has(self, arm: str, seed: int) -> bool:
        """Whether that trial is done."""
        return any(t["arm"] == arm and t["seed"] == seed for t in self.trials)


def verifications(catalog: Catalog, task: str) -> list[Kept]:
    """The verifications of a task that are kept, the one asked for last first."""
    found = kept_trials(catalog.workspace, catalog.store.digest)
    return [Kept(key, plan, tuple(ts)) for key, plan, ts in found if plan["task"] == task and ts]


@dataclass(frozen=True)
class Wish:
    """What is to be trained and how, as the command line takes it.

    Attributes:
        runs: run ids, each with how many samples it has.
        told: settings that are told; the others are the store's.
        first_seed: of the first run.
        model, test: a folder and a file, or "" for the store's own.
    """

    task: str
    runs: Mapping[str, int]
    told: Mapping[str, Any] = field(default_factory=dict)
    random: bool = True
    full: bool = True
    first_seed: int = 0
    model: str = ""
    test: str = ""

    def arguments(self) -> list[str]:
        """After `verify STORE`."""
        words = [*self.runs]
        for name, value in self.told.items():
            if name == "weighted":
                words += ["--weighted"] if value else []
            else:
                words += [f"--{name.replace('_', '-')}", str(value)]
        words += ["--random"] if self.random else []
        words += ["--full"] if self.full else []
        for flag, text in (("--model", self.model), ("--test", self.test)):
            words += [flag, text] if text else []
        return words

    @property
    def arms(self) -> list[str]:
        """What is trained on, by the names that trials have."""
        draws = [f"random-{n}" for n in sorted({*self.runs.values()})] if self.random else []
        return [*self.runs, *draws, *([FULL] if self.full else [])]

    def trials(self, store: Store) -> list[tuple[str, int]]:
        """Every trained model: its arm and its seed."""
        seeds = as_collected(store, self.told).seeds
        return [(a, self.first_seed + s) for s in range(seeds) for a in self.arms]

    def to_do(self, store: Store, kept: Kept | None) -> int:
        """How many of them are not there yet."""
        return sum(kept is None or not kept.has(*one) for one in self.trials(store))

    def differences(self, store: Store, kept: Kept) -> list[str]:
        """How a kept verification differs from what is asked; empty where it is the same."""
        wanted, had = as_collected(store, self.told).meaning(), kept.plan["settings"]
        names = [name for name in wanted if name != "dtype" and wanted[name] != had.get(name)]
        if {"steps", "epochs"} & {*names} and had["steps"] == wanted["steps"] > 0:
            names = [name for name in names if name != "epochs"]  # steps decide
        words = [f"{_WORDS.get(n, n)} {had.get(n)} instead of {wanted[n]}" for n in names]
        if self.model and Path(self.model) != Path(kept.plan.get("folder", "")):
            words.append(f"the model in {kept.plan.get('folder')}")
        files = files_of(store, tasks_of(store, self.task), Path(self.test) if self.test else None)
        if digests_of(files) != kept.plan.get("test_digests"):
            words.append("other test examples than are there now")
        return words


def first_seed(catalog: Catalog, run_id: str, current: int) -> int:
    """The seed that trials begin with: the first run's, or the current one if it is not saved."""
    if run_id not in catalog.list_runs():
        return current
    run, _ = catalog.read_run(run_id)
    return int(run["settings"].get("seed", 0))


def equal_steps(n_samples: int, settings: VerifySettings) -> int:
    """How many steps go through so many samples as often as the epochs of these settings."""
    return steps_of(n_samples, replace(settings, steps=0))


def digests_of(files: Sequence[Path]) -> list[str]:
    """SHA-256 of test files, by which changed ones are known; a folder counts by its name."""
    return [sha256(path) if path.is_file() else str(path) for path in files]

"""One verification from beginning to end: trials one by one, each kept whole, the table last."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from gtp_core.catalog import Catalog
from gtp_core.catalog.trials import FOLDER, PLAN, TRIALS, trials_in
from gtp_core.collect.model import model_folder, resolved_dtype
from gtp_core.collect.plan import model_digest
from gtp_core.collect.world import World
from gtp_core.errors import CancelledError, RunError
from gtp_core.locks import hold
from gtp_core.store import Progress, to_json, write_json, written_whole
from gtp_core.store.append import clear_temporaries
from gtp_core.verify.arms import Wanted, arms_of, prompts_of
from gtp_core.verify.examples import read_test, seen_in
from gtp_core.verify.pace import ANSWER, ASK, TRAIN, Pace, in_words
from gtp_core.verify.resuming import Resumable, standing
from gtp_core.verify.settings import as_collected
from gtp_core.verify.sources import MODEL, files_of, model_at, tasks_of
from gtp_core.verify.steps import marks_of, places_met, samples_left, steps_of
from gtp_core.verify.telling import answer, how_trained, remarks
from gtp_core.verify.trainer import Trainer
from gtp_core.verify.wishing import digests_of

PARTS = "parts"


@dataclass(frozen=True)
class Asked:
    """What a user asks for.

    Attributes:
        model: folder of the model, or its name on the hub; None is the one the store names.
        test: file of test examples; None is what lies beside the store.
        told: settings that were given; the others are the store's own.
        random, full: whether chance draws and the whole pool are trained on too.
        chat_template: instead of the tokenizer's own.
    """

    runs: Sequence[str]
    model: str | None = None
    test: Path | None = None
    told: Mapping[str, Any] = field(default_factory=dict)
    random: bool = False
    full: bool = False
    chat_template: str | None = None


def verify(catalog: Catalog, asked: Asked, progress: Progress | None = None) -> dict[str, Any]:
    """Train every arm with every seed, and compare; what is there already is not done again.

    Returns `key`, `folder`, `table` (a row for each arm), `comparisons`, `sentences`,
    `correlations` with their sentences (over all arms that are kept, from five on), `notes`,
    `settings`, `cancelled`. A KeyboardInterrupt that `progress` raises ends it between two steps:
    the table is of the trials that are done, and the one begun goes on where it was.

    Raises:
        RunError, TaskError, CollectError, MethodError: what was asked cannot be done.
        CancelledError: Ctrl-C before any trial was done.
    """
    work = Verification(catalog, asked)
    return work.run(progress or (lambda done, total, what: None))


class Verification:
    """The state of one command: what was asked, what is there, what remains."""

    def __init__(self, catalog: Catalog, asked: Asked) -> None:
        if len(set(asked.runs)) != len(asked.runs) or not asked.runs:
            raise RunError(
                f"{len(asked.runs)} runs, {len(set(asked.runs))} of them different; give each id "
                "of a saved run once."
            )
        self.catalog, store = catalog, catalog.store
        self.settings = as_collected(store, asked.told)
        runs = {run_id: catalog.read_run(run_id) for run_id in asked.runs}
        self.arms = arms_of(
            catalog,
            runs,
            weighted=bool(self.settings.weighted),
            random=asked.random,
            full=asked.full,
        )
        first, _ = runs[asked.runs[0]]
        start = int(first["settings"].get("seed", 0))
        self.seeds = list(range(start, start + self.settings.seeds))
        tasks = tasks_of(store, first["task"])
        files = files_of(store, tasks, asked.test)
        self.files = files
        self.test = read_test(store, tasks, files, most=self.settings.max_test)
        if not self.settings.max_new_tokens:
            self.test = replace(self.test, answers=())
        self.model = model_folder(asked.model) if asked.model else model_at(store)
        digest = model_digest(self.model)
        self.is_stores = digest == store.manifest.producer.get("digests", {}).get("model")
        self.is_stores |= self.model == store.folder / MODEL
        self.device = World(self.settings.device).device
        self.settings = replace(
            self.settings, dtype=resolved_dtype(self.settings.dtype, self.device)
        )
        self.plan: dict[str, Any] = {
            "model": digest,
            "test": self.test.digest,
            "task": first["task"],
            "settings": self.settings.meaning(),
            "store": store.digest,
            "chat_template": asked.chat_template,
        }
        self.key = hashlib.sha256(to_json(self.plan).encode()).hexdigest()[:16]
        self.folder = catalog.workspace / FOLDER / self.key

    def run(self, progress: Progress) -> dict[str, Any]:
        """Do what remains, and write the table."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with _alone(self.folder):
            return self._run(progress)

    def _run(self, progress: Progress) -> dict[str, Any]:
        clear_temporaries(self.folder)
        write_json(self.folder / PLAN, {**self.plan, **self._facts()})
        cancelled = False
        try:
            self._work(progress)
        except KeyboardInterrupt:
            cancelled = True
        trials = [trial for trial in map(self._saved, self.wanted) if trial]
        if not trials:
            raise CancelledError(
                "cancelled before any trial was done; the same command goes on where it was. "
                "Run it again."
            )
        return self._answer(trials, cancelled=cancelled)

    # --- what remains -----------------------------------------------------------------------

    @cached_property
    def wanted(self) -> list[Wanted]:
        """Every trial: first the model as it is, then seed by seed all arms."""
        trained = [Wanted(s, a.subset(s), a) for s in self.seeds for a in self.arms]
        return [Wanted(0, None), *trained]

    def _path(self, wanted: Wanted) -> Path:
        return self.folder / TRIALS / f"{wanted.file}.json"

    def _part(self, wanted: Wanted) -> Path:
        """Where a trial that was cut off stands."""
        return self.folder / PARTS / f"{wanted.file}.safetensors"

    def _saved(self, wanted: Wanted) -> dict[str, Any] | None:
        """A trial that is done; None where it is missing, damaged or of another subset."""
        try:
            found = json.loads(self._path(wanted).read_text(encoding="utf-8"))
            return found if found["subset"] == wanted.digest else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _work(self, progress: Progress) -> None:
        todo = [wanted for wanted in self.wanted if self._saved(wanted) is None]
        if not todo:
            return
        costs = [self._cost(wanted) for wanted in todo]
        pace = Pace({kind: sum(cost[kind] for cost in costs) for kind in (TRAIN, ASK, ANSWER)})
        total, done = sum(sum(cost.values()) for cost in costs), 0
        trainer = Trainer(
            self.catalog,
            self.model,
            self.settings,
            self.test,
            device=self.device,
            chat_template=self.plan["chat_template"],
        )
        for at, (wanted, cost) in enumerate(zip(todo, costs, strict=True)):
            what = f"samples, {wanted.name} seed {wanted.seed} ({at + 1} of {len(todo)} trials)"
            before = done
            pace.begin()

            def did(kind: str, count: int, what: str = what) -> None:
                nonlocal done
                done += count
                pace.did(kind, count)
                progress(min(done, total), total, f"{what}, {in_words(pace.left())}")

            self._one(trainer, wanted, did)
            done = before + sum(cost.values())

    def _one(self, trainer: Trainer, wanted: Wanted, did: Callable[[str, int], None]) -> None:
        """A trial from where it stands to its file."""
        every = self.settings.save_seconds
        state = Resumable(self._part(wanted), wanted.digest, every=every)
        found = trainer.trial(wanted.subset, wanted.seed, did, state)
        head = {"arm": wanted.name, "seed": wanted.seed, "subset": wanted.digest}
        told = {**head, **wanted.told(), **found, "n_test": len(self.test.records)}
        told["n_seen"] = 0
        if wanted.subset:
            met = places_met(len(wanted.subset.rows), self.settings, wanted.seed)
            prompts = prompts_of(self.catalog, wanted.subset.rows[met])
            told["n_seen"] = seen_in(self.test.records, prompts)
        write_json(self._path(wanted), {**told, "seconds": round(state.taken(), 2)})
        state.clear()

    def _cost(self, wanted: Wanted) -> dict[str, int]:
        """Samples that a trial still trains on, asks and writes answers to."""
        asks = len(self.test.records)
        if wanted.subset is None:
            return {TRAIN: 0, ASK: asks, ANSWER: len(self.test.answers)}
        n = len(wanted.subset.rows)
        step = standing(self._part(wanted), wanted.digest)
        points = sum(mark >= step for mark in marks_of(steps_of(n, self.settings), self.settings))
        return {
            TRAIN: samples_left(n, self.settings, step),
            ASK: points * asks,
            ANSWER: len(self.test.answers),
        }

    # --- what is said of it -----------------------------------------------------------------

    def _answer(self, trials: list[dict[str, Any]], *, cancelled: bool) -> dict[str, Any]:
        names = [arm.name for arm in self.arms]
        whole = {
            "key": self.key,
            "folder": str(self.folder),
            "task": self.plan["task"],
            "model": str(self.model),
            "seeds": self.seeds,
            "n_test": len(self.test.records),
            **answer(trials, names, self.settings.meaning(), kept=trials_in(self.folder)),
            "notes": self._notes(trials, cancelled=cancelled),
            "cancelled": cancelled,
            "settings": {**self.settings.meaning(), "seeds": self.settings.seeds},
        }
        self._write_tables(trials)
        write_json(self.folder / "table.json", whole)
        return whole

    def _write_tables(self, trials: Sequence[Mapping[str, Any]]) -> None:
        keys = ("arm", "seed", "n_samples", "steps", "test_loss", "exact_match", "seconds")
        rows = [{key: trial[key] for key in keys} for trial in trials]
        points = [
            {"arm": t["arm"], "seed": t["seed"], **point} for t in trials for point in t["curve"]
        ]
        for name, table in (("trials", rows), ("curves", points)):
            with written_whole(self.folder / f"{name}.parquet") as temporary:
                pl.DataFrame(table, infer_schema_length=None).write_parquet(temporary)

    def _facts(self) -> dict[str, Any]:
        """What stands in the plan besides what its key is made of."""
        return {
            "folder": str(self.model),
            "test_files": [str(path) for path in self.files],
            "test_digests": digests_of(self.files),
            "n_test": len(self.test.records),
            "notes": self._of_model(),
        }

    def _notes(self, trials: Sequence[Mapping[str, Any]], *, cancelled: bool) -> list[str]:
        how = f"{how_trained(self.settings.meaning())} Every interval is of one comparison alone."
        arms = [arm.name for arm in self.arms]
        notes = [how, *remarks(trials, arms, self.settings.meaning()), *self._of_model()]
        if cancelled:
            notes.append(
                f"Cancelled: {len(trials):,} of {len(self.wanted):,} trials are done and kept; the "
                "same command goes on."
            )
        return notes

    def _of_model(self) -> list[str]:
        """What is to be said of the model; at most one note."""
        if self.is_stores:
            return []
        return [
            "The store does not say that it was collected with this model, so the selections "
            "may have been made for another."
        ]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse where another process works in this folder; the system ends its hold with it."""

    def refuse() -> NoReturn:
        raise RunError(
            f"another process is at the trials in {folder}, and two would do them twice. Wait for "
            "it, or cancel it."
        )

    with hold(folder / ".lock", refuse):
        yield

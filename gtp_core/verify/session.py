"""One verification from beginning to end: trials one by one, each kept whole, the table last."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from gtp_core.atoms.aims import read_aim
from gtp_core.catalog import Catalog
from gtp_core.collect.model import model_folder, resolved_dtype
from gtp_core.collect.plan import model_digest
from gtp_core.collect.world import World
from gtp_core.errors import CancelledError, MethodError, RunError
from gtp_core.store import Progress, Store, to_json, write_json, written_whole
from gtp_core.store.append import clear_temporaries
from gtp_core.verify.arms import Subset, arms_of, prompts_of
from gtp_core.verify.comparing import comparisons, sentences, summary
from gtp_core.verify.examples import files_of, read_test, seen_in
from gtp_core.verify.settings import as_collected
from gtp_core.verify.trainer import Trainer
from gtp_core.verify.training import samples_seen, steps_of

FOLDER = "verify"
BASE = "base"
MODEL = "model"
"""Folder in a store in which its model may lie, as the demo's does."""


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

    Returns `key`, `folder`, `table` (a row for each arm), `comparisons`, `sentences`, `notes`,
    `settings`, `cancelled`. Ctrl-C ends it early, and the table is of the trials that are done.

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
        tasks = [name for name in read_aim(first["task"]) if name in store.task_names]
        files = files_of(store, tasks, asked.test)
        self.test = read_test(store, tasks, files, most=self.settings.max_test)
        if not self.settings.max_new_tokens:
            self.test = replace(self.test, answers=())
        self.model = _model_of(store, asked.model)
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
        clear_temporaries(self.folder)
        write_json(self.folder / "plan.json", {**self.plan, "folder": str(self.model)})
        cancelled = False
        try:
            self._work(progress)
        except KeyboardInterrupt:
            cancelled = True
        trials = [trial for trial in map(self._saved, self.wanted) if trial]
        if not trials:
            raise CancelledError(
                "cancelled before any trial was done; nothing was kept. Run it again."
            )
        return self._answer(trials, cancelled=cancelled)

    # --- what remains -----------------------------------------------------------------------

    @cached_property
    def wanted(self) -> list["Wanted"]:
        """Every trial: first the model as it is, then seed by seed all arms."""
        trained = [Wanted(a.name, s, a.subset(s)) for s in self.seeds for a in self.arms]
        return [Wanted(BASE, 0, None), *trained]

    def _path(self, wanted: "Wanted") -> Path:
        seed = f".seed-{wanted.seed}" if wanted.subset else ""
        return self.folder / "trials" / f"{wanted.arm}{seed}.json"

    def _saved(self, wanted: "Wanted") -> dict[str, Any] | None:
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
        total, done = sum(self._cost(wanted) for wanted in todo), 0
        trainer = Trainer(
            self.catalog,
            self.model,
            self.settings,
            self.test,
            device=self.device,
            chat_template=self.plan["chat_template"],
        )
        for at, wanted in enumerate(todo):
            what = f"samples, {wanted.arm} seed {wanted.seed} ({at + 1} of {len(todo)} trials)"
            before, start = done, time.perf_counter()

            def tick(count: int, what: str = what) -> None:
                nonlocal done
                done += count
                progress(min(done, total), total, what)

            found = trainer.trial(wanted.subset, wanted.seed, tick)
            seconds = round(time.perf_counter() - start, 2)
            head = {"arm": wanted.arm, "seed": wanted.seed, "subset": wanted.digest}
            write_json(self._path(wanted), {**head, **found, "seconds": seconds})
            done = before + self._cost(wanted)

    def _cost(self, wanted: "Wanted") -> int:
        """Samples that a trial trains on or asks."""
        asks = len(self.test.records)
        answers = len(self.test.answers)
        if wanted.subset is None:
            return asks + answers
        n = len(wanted.subset.rows)
        points = min(self.settings.points, steps_of(n, self.settings))
        return samples_seen(n, self.settings) + points * asks + answers

    # --- what is said of it -----------------------------------------------------------------

    def _answer(self, trials: list[dict[str, Any]], *, cancelled: bool) -> dict[str, Any]:
        names = [arm.name for arm in self.arms]
        found = comparisons(trials, names)
        answer = {
            "key": self.key,
            "folder": str(self.folder),
            "task": self.plan["task"],
            "model": str(self.model),
            "seeds": self.seeds,
            "n_test": len(self.test.records),
            "table": summary(trials, [BASE, *names]),
            "comparisons": found,
            "sentences": sentences(found),
            "notes": self._notes(trials, cancelled=cancelled),
            "cancelled": cancelled,
            "settings": {**self.settings.meaning(), "seeds": self.settings.seeds},
        }
        self._write_tables(trials)
        write_json(self.folder / "table.json", answer)
        return answer

    def _write_tables(self, trials: Sequence[Mapping[str, Any]]) -> None:
        keys = ("arm", "seed", "n_samples", "steps", "test_loss", "exact_match", "seconds")
        rows = [{key: trial[key] for key in keys} for trial in trials]
        points = [
            {"arm": t["arm"], "seed": t["seed"], **point} for t in trials for point in t["curve"]
        ]
        for name, table in (("trials", rows), ("curves", points)):
            with written_whole(self.folder / f"{name}.parquet") as temporary:
                pl.DataFrame(table, infer_schema_length=None).write_parquet(temporary)

    def _notes(self, trials: Sequence[Mapping[str, Any]], *, cancelled: bool) -> list[str]:
        settings, wanted = self.settings, self.wanted
        equal = (
            f"every subset gets {settings.steps:,} steps (equal steps)"
            if settings.steps
            else f"every subset is gone through {settings.epochs} times (equal epochs)"
        )
        loss = "weighted" if settings.weighted else "unweighted"
        notes = [
            f"Fine-tuned with LoRA of rank {settings.rank}, {loss} loss; {equal}. Every "
            "interval is of one comparison alone."
        ]
        subsets = [w.subset for w in wanted if w.subset]
        seen = seen_in(self.test.records, prompts_of(self.catalog, subsets))
        if seen:
            notes.append(
                f"{seen:,} of {len(self.test.records):,} test examples have the prompt of a sample "
                "that is trained on."
            )
        if not self.is_stores:
            notes.append(
                "The store does not say that it was collected with this model, so the selections "
                "may have been made for another."
            )
        bad = [f"{t['arm']} with seed {t['seed']}" for t in trials if t["test_loss"] is None]
        if bad:
            notes.append(f"Training diverged and is left out: {', '.join(bad)}.")
        if cancelled:
            notes.append(
                f"Cancelled: {len(trials):,} of {len(wanted):,} trials are done and kept; the same "
                "command goes on."
            )
        return notes


@dataclass(frozen=True)
class Wanted:
    """One trial: an arm, a seed, and the samples; without a subset the model is asked as it is."""

    arm: str
    seed: int
    subset: Subset | None

    @property
    def digest(self) -> str:
        """Of the subset, by which a saved trial is known to be this one."""
        return self.subset.digest() if self.subset else ""


def _model_of(store: Store, told: str | None) -> Path:
    """Folder of the model to fine-tune: the one told, the one in the store, the one it names."""
    if told:
        return model_folder(told)
    named = str(store.manifest.model.get("id", ""))
    found = next((p for p in (store.folder / MODEL, Path(named)) if named and p.is_dir()), None)
    if found is None:
        raise MethodError(
            f"the store's model {named or 'without a name'!r} is no folder here; wanted the model "
            "to fine-tune. Give its folder, or its name on the hub, with --model."
        )
    return found

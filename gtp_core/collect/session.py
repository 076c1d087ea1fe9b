"""One `collect` command from beginning to end: plan, warm-up, gradients, manifest; resumable."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gtp_core.collect import adding
from gtp_core.collect import plan as plans
from gtp_core.collect.checkpoints import (
    AdapterState,
    adapter_weights,
    checkpoint_folders,
    read_checkpoints,
)
from gtp_core.collect.collect import (
    PRODUCER,
    checked_kinds,
    facts,
    finish,
    libraries,
    new_manifest,
    write_tasks,
)
from gtp_core.collect.encode import Encoded
from gtp_core.collect.estimate import Estimate, check_space, estimate
from gtp_core.collect.gradients import GradientModel
from gtp_core.collect.measure import measured_error
from gtp_core.collect.model import (
    FP16_LOSS_SCALE,
    adapted,
    load_model,
    load_tokenizer,
    pad_id,
)
from gtp_core.collect.plan import Plan
from gtp_core.collect.pool import read_records
from gtp_core.collect.projection import make_projection
from gtp_core.collect.repeatable import repeatable
from gtp_core.collect.request import Request, is_done, settings_of
from gtp_core.collect.template import Template
from gtp_core.collect.training import shapes_of, trained, warmed_up
from gtp_core.collect.work import Collection, Progress, RowMaker
from gtp_core.collect.world import World
from gtp_core.errors import CollectError
from gtp_core.store import Manifest, open_store
from gtp_core.store.append import clear_temporaries

Say = Callable[[str], None]


class Session:
    """The state of one command: what was asked, what is there, what remains."""

    def __init__(self, request: Request, *, say: Say, progress: Progress | None) -> None:
        self.folder = request.folder
        self._request = request
        self._say = say
        self._progress = progress
        self.world = World(request.told.get("device", "auto"))
        self._base = adding.base_store(request.folder) if request.append else None
        self.settings = settings_of(request, self._base, self.world.device)
        self._tokenizer = load_tokenizer(request.sources.model)
        self._template = Template(
            self._tokenizer,
            kind=self.settings.template,
            chat_template=request.sources.chat_template,
            max_tokens=self.settings.max_tokens,
        )
        sources = request.sources
        self._sources = replace(sources, checkpoints=tuple(_folders(sources.checkpoints)))
        if not (sources.pool or (request.append and sources.tasks)):
            raise CollectError(
                "there is nothing to collect; give a --pool, and with --append a --pool or --task."
            )

    def run(self) -> dict[str, Any] | None:
        """Collect what is not there yet; facts about the store, None in all but one process."""
        if not self._request.dry_run:
            return self._run()
        with tempfile.TemporaryDirectory() as elsewhere:
            self.folder = Path(elsewhere)
            return self._run()

    def _run(self) -> dict[str, Any] | None:
        strict = self.world.device.type == "cpu"
        with repeatable(seed=self.settings.seed, threads=self.settings.threads, strict=strict):
            if self._is_done():  # every process sees that for itself, and none waits for others
                return facts(open_store(self.folder), 0.0, 0) if self.world.is_first else None
            maker = self._maker()
            if self.world.is_first:
                self._begin(maker)
            self.world.wait()
            found = self._collected(maker)
            self.world.close()
            return found if self.world.is_first else None

    # --- what is there ----------------------------------------------------------------------

    def _is_done(self) -> bool:
        return is_done(
            self.folder,
            self._sources,
            self._template,
            self.settings,
            base=self._base,
            forget=self.world.is_first,
        )

    def _begin(self, maker: RowMaker) -> None:
        """Make the plan, with every sample and example in place; or check the one there is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        clear_temporaries(self.folder)
        digests = plans.digests_of(self._sources, self._template)
        settings = self.settings.document()
        unfinished = plans.saved_plan(self.folder)
        if unfinished:
            plans.check_same(digests, unfinished.digests, folder=self.folder, what="collecting")
            plans.check_same(settings, unfinished.settings, folder=self.folder, what="collecting")
            return
        taken: frozenset[str] = frozenset()
        if self._base:
            adding.check_same_store(self._base, digests, self.settings)
            taken = frozenset(self._base.samples().select("sample_id").collect()["sample_id"])
        # Before there is a plan: what does not fit can be mended and is no other collection then.
        if self._sources.checkpoints:
            self._states(maker)
        if self._sources.adapter:
            adapter_weights(self._sources.adapter, shapes_of(maker.source.model))
        tasks = {name: list(read_records(path)) for name, path in self._sources.tasks.items()}
        parts = plans.lay_out(
            self.folder,
            self._sources,
            self._template,
            self.settings,
            first=len(self._base.manifest.parts) if self._base else 0,
            taken=taken,
        )
        write_tasks(self.folder, tasks, self._template)
        plans.clear_stale(self.folder, [*parts], [*tasks], warmup=self._base is None)
        base = self._base.digest if self._base else ""
        plans.save_plan(self.folder, Plan(settings, digests, parts, base))

    # --- what remains -----------------------------------------------------------------------

    def _collected(self, maker: RowMaker) -> dict[str, Any] | None:
        plan = plans.saved_plan(self.folder)
        if plan is None:
            raise CollectError(f"{self.folder} lost its plan meanwhile. Run the command again.")
        if self.world.is_first:
            cost = self._estimate(maker, plan)
            check_space(self.folder, cost.bytes)
            many = f"{self.world.count} processes: " if self.world.count > 1 else ""
            self._say(many + cost.sentence())
            if self._request.dry_run:
                return vars(cost)
            self._warm_up(maker, plan)
        self.world.wait()
        collection = self._collection(maker, plan, self._states(maker))
        units = collection.units()
        todo = sum(u.tokens for u in units if not (self.folder / u.path).is_file())
        start = time.perf_counter()
        collection.run(units[self.world.index :: self.world.count], self._progress)
        self.world.wait()
        seconds = time.perf_counter() - start
        if not self.world.is_first:
            return None
        store = finish(collection, self._head(collection, plan))
        plans.forget_plan(self.folder)
        return facts(store, seconds, todo)

    def _maker(self) -> RowMaker:
        settings, sources = self.settings, self._sources
        model = load_model(sources.model, dtype=settings.dtype, device=self.world.device)
        folders = sources.checkpoints or ([sources.adapter] if sources.adapter else [])
        tuned = adapted(model, settings, folders).to(self.world.device)
        scale = FP16_LOSS_SCALE if settings.dtype == "fp16" else 1.0
        source = GradientModel(tuned, pad_id=pad_id(self._tokenizer), loss_scale=scale)
        projection = make_projection(
            settings.projection,
            input_dim=source.input_dim,
            dim=settings.dim,
            seed=settings.projection_seed,
        )
        return RowMaker(
            source,
            [projection],
            max_batch_tokens=settings.max_batch_tokens,
            max_batch_samples=settings.max_batch_samples,
        )

    def _warm_up(self, maker: RowMaker, plan: Plan) -> None:
        """Train what is not trained yet; nothing where checkpoints are given or there already."""
        if self._sources.checkpoints or self._base:
            return
        rows_of_part = self.settings.part_rows
        collection = self._collection(maker, plan, [])

        def texts(rows: Sequence[int]) -> list[Encoded]:
            found: list[Encoded] = []
            for at, name in enumerate(plan.parts):
                first = at * rows_of_part
                wanted = [r - first for r in rows if first <= r < first + rows_of_part]
                found += collection.part_texts(name, wanted) if wanted else []
            return found

        warmed_up(
            maker.source.model,
            self.folder,
            self.settings,
            n_pool=sum(rows for rows, _ in plan.parts.values()),
            texts=texts,
            pad_id=pad_id(self._tokenizer),
            adapter=self._sources.adapter,
            progress=self._progress,
        )

    def _states(self, maker: RowMaker) -> list[AdapterState]:
        needs = any(kind.startswith("adam") for kind in self._kinds().values())
        model = maker.source.model
        if not self._sources.checkpoints:
            return trained(model, self.folder, needs_moments=needs)
        return read_checkpoints(self._sources.checkpoints, shapes_of(model), needs_moments=needs)

    def _kinds(self) -> dict[str, str]:
        told = {"samples": self.settings.gradients, "tasks": self.settings.task_gradients}
        return checked_kinds(told)

    def _collection(
        self, maker: RowMaker, plan: Plan, states: Sequence[AdapterState]
    ) -> Collection:
        tasks = {
            name: [self._template.encode(r.content) for r in read_records(path)]
            for name, path in self._sources.tasks.items()
        }
        return Collection(
            self.folder,
            maker=maker,
            states=states,
            template=self._template,
            kinds=self._kinds(),
            parts={name: tokens for name, (_, tokens) in plan.parts.items()},
            tasks=tasks,
        )

    def _estimate(self, maker: RowMaker, plan: Plan) -> Estimate:
        collection = self._collection(maker, plan, [])
        n_checkpoints, share = len(self._sources.checkpoints) or self.settings.epochs, 0.0
        if self._base:
            n_checkpoints = len(self._base.checkpoints)
        elif not self._sources.checkpoints:
            share = self.settings.warmup_share * self.settings.epochs
        return estimate(
            collection,
            n_samples=sum(rows for rows, _ in plan.parts.values()),
            n_checkpoints=n_checkpoints,
            n_processes=self.world.count,
            warmup_share=share,
        )

    # --- what is said of it -----------------------------------------------------------------

    def _head(self, collection: Collection, plan: Plan) -> Manifest:
        """The manifest that the new parts and tasks are added to."""
        rows = {name: count for name, (count, _) in plan.parts.items()}
        if self._base:
            rows = {part.name: part.rows for part in self._base.manifest.parts} | rows
            digests = plan.digests if self._sources.pool else {**plan.digests, "pool": None}
            error = measured_error(collection, rows)
            return adding.head(self._base, collection, digests, error)
        producer = {
            **PRODUCER,
            "libraries": libraries(),
            "settings": plan.settings,
            "digests": {**plan.digests, "pool": [plan.digests["pool"]]},
            "projection_error": measured_error(collection, rows),
        }
        return new_manifest(
            collection,
            name=self._request.name,
            model_id=self._sources.model_id,
            producer=producer,
        )


def _folders(given: Sequence[Path]) -> list[Path]:
    return checkpoint_folders(list(given)) if given else []

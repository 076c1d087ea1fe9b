"""Build the demo from nothing: pool, base model, LoRA warm-up, gradients, and a model card."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.collect import (
    AdapterState,
    WarmupSettings,
    add_lora,
    collect_store,
    load_adapter,
    warm_up,
)
from gtp_core.collect.encode import encode
from gtp_core.collect.repeatable import repeatable
from gtp_core.demo.model import (
    ModelSettings,
    accuracy,
    half_precision,
    held_out_loss,
    new_model,
    pretrain,
    save_model,
    train_tokenizer,
)
from gtp_core.demo.pool import make_pool, make_pretraining
from gtp_core.demo.skills import SKILLS, answer_of
from gtp_core.demo.tasks import DemoTask, make_tasks
from gtp_core.errors import StoreError
from gtp_core.methods import Settings
from gtp_core.neighbors import prepare_map, prepare_neighbors
from gtp_core.report import prepare_path
from gtp_core.store import Store, write_json, written_whole
from gtp_core.store.manifest import MANIFEST

Progress = Callable[[int, int, str], None]
MODEL_ID = "gtp-explorer/demo-llama"


@dataclass(frozen=True)
class DemoSettings:
    """Every size of the demo. The defaults give the bundled store; tests build a miniature.

    Attributes:
        pool: samples in the pool.
        tokenizer_texts: pre-training examples that the tokenizer is trained on.
        checked: fresh examples per skill on which the base model is checked.
        rank, alpha, target_modules: of the LoRA adapter.
        dim: length of a projected gradient.
        gradients: kinds of the rows of samples and of tasks.
        threads: of torch; part of the recipe, because sums depend on it in their last bits. Two
            are 1.4x as fast on two idle cores and 20x slower when another program uses them.
    """

    pool: int = 4000
    tokenizer_texts: int = 4000
    checked: int = 60
    rank: int = 4
    alpha: int = 16
    target_modules: tuple[str, ...] = ("v_proj", "o_proj", "up_proj", "down_proj")
    dim: int = 256
    gradients: Mapping[str, str] = field(
        default_factory=lambda: {"samples": "adam", "tasks": "adam"}
    )
    threads: int = 1
    model: ModelSettings = field(default_factory=ModelSettings)
    warmup: WarmupSettings = field(default_factory=WarmupSettings)


def build_demo(
    folder: Path | str,
    *,
    seed: int = 0,
    settings: DemoSettings | None = None,
    progress: Progress | None = None,
) -> Store:
    """Build the demo store; the same seed and settings give the same bytes on one machine.

    Beside the store's own files, `folder` gets `truth.jsonl` (what was planted in the pool),
    `tests/<task>.jsonl` (held-out examples), `model/` (the base model in float16, with its
    tokenizer), `model-card.json`, `paths/` (every task solved at every budget of its path), and
    `neighbors/` (the nearest-neighbour graph and the map).

    Raises:
        StoreError: the folder holds a store already.
    """
    folder, settings = Path(folder), settings or DemoSettings()
    if (folder / MANIFEST).exists():
        raise StoreError(
            f"{folder} already holds a store; the demo is built into a new folder. "
            "Choose another folder or delete this one."
        )
    pool, tasks = make_pool(seed, settings.pool), make_tasks(seed)
    _write_lines(folder / "truth.jsonl", map(_line, pool.truth))
    for task in tasks:
        _write_lines(folder / "tests" / f"{task.name}.jsonl", map(_line, task.test))
    with repeatable(seed=seed, threads=settings.threads):
        model, tokenizer, card = base_model(seed=seed, settings=settings, progress=progress)
        save_model(model, tokenizer, folder / "model")
        tuned, states, warm_card = warmed_up(
            model, tokenizer, pool.records, seed=seed, settings=settings, progress=progress
        )
        losses = _test_losses(tuned, tokenizer, states, tasks, settings=settings)
        card = {**card, "warmup": warm_card, "test_loss_in_nats": losses}
        write_json(folder / "model-card.json", card)
        store = collect_store(
            tuned,
            tokenizer,
            states,
            [_line(record) for record in pool.records],
            {task.name: task.validation for task in tasks},
            folder,
            dim=settings.dim,
            seed=seed,
            gradients=settings.gradients,
            name="demo",
            model_id=MODEL_ID,
            max_tokens=settings.model.max_tokens,
            progress=progress,
        )
    prepare_paths(store, progress=progress)
    prepare_sides(store, progress=progress)
    return store


def prepare_paths(store: Store, *, progress: Progress | None = None) -> None:
    """Solve every task at every budget of its path, as asked by default, into `paths/`."""
    with (
        tempfile.TemporaryDirectory() as workspace,
        closing(open_catalog(store, workspace=workspace)) as catalog,
    ):
        for task in store.task_names:
            prepare_path(catalog, pose(catalog, task), Settings(), _ahead(progress, task))
        shutil.copytree(catalog.workspace / "paths", store.folder / "paths")


def prepare_sides(store: Store, *, progress: Progress | None = None) -> None:
    """Find nearest neighbours and lay out the map, as the app would, into `neighbors/`."""
    with (
        tempfile.TemporaryDirectory() as workspace,
        closing(open_catalog(store, workspace=workspace)) as catalog,
    ):
        prepare_neighbors(catalog, progress=_ahead(progress, "neighbors"))
        prepare_map(catalog, progress=_ahead(progress, "map"))
        shutil.copytree(catalog.workspace / "neighbors", store.folder / "neighbors")


def _ahead(progress: Progress | None, task: str) -> Progress:
    """The progress of a side file, which counts from 0 what the others count from 1."""

    def report(done: int, total: int, what: str) -> None:
        if progress:
            progress(min(done + 1, total), total, f"{task}: {what}")

    return report


def base_model(
    *, seed: int, settings: DemoSettings, progress: Progress | None = None
) -> tuple[Any, Any, dict[str, Any]]:
    """The pre-trained model, its tokenizer, and what the card says of them.

    The weights are rounded to float16, as they are shipped, before anything is done with them.
    """
    sizes = settings.model
    texts = (f"{a}\n{b}" for a, b in make_pretraining(seed + 1, settings.tokenizer_texts))
    tokenizer = train_tokenizer(texts, vocabulary=sizes.vocabulary)
    model = new_model(sizes, vocabulary=len(tokenizer), end_id=tokenizer.eos_token_id)
    pairs = make_pretraining(seed, sizes.examples)
    pretrain(model, tokenizer, pairs, settings=sizes, progress=progress)
    half_precision(model)
    card = {
        "model": MODEL_ID,
        "description": "A language model trained from nothing on the demo's own skills.",
        "seed": seed,
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "pretraining": asdict(sizes),
        "accuracy": _accuracies(model, tokenizer, seed=seed, checked=settings.checked),
    }
    return model, tokenizer, card


def warmed_up(
    model: Any,
    tokenizer: Any,
    records: Sequence[Mapping[str, str]],
    *,
    seed: int,
    settings: DemoSettings,
    progress: Progress | None = None,
) -> tuple[Any, list[Any], dict[str, Any]]:
    """The model with its adapter, the adapter's checkpoints, and what the card says of them."""
    samples = [
        encode(tokenizer, r["prompt"], r["completion"], max_tokens=settings.model.max_tokens)
        for r in records
    ]
    tuned = add_lora(
        model,
        rank=settings.rank,
        alpha=settings.alpha,
        target_modules=settings.target_modules,
        seed=seed,
    )
    states = warm_up(
        tuned,
        samples,
        pad_id=tokenizer.pad_token_id,
        settings=settings.warmup,
        progress=progress,
    )
    card = {
        **asdict(settings.warmup),
        "rank": settings.rank,
        "alpha": settings.alpha,
        "target_modules": list(settings.target_modules),
        "checkpoints": [asdict(state.checkpoint) for state in states],
    }
    return tuned, states, card


def _accuracies(model: Any, tokenizer: Any, *, seed: int, checked: int) -> dict[str, float]:
    """Exact match of greedy answers to fresh examples, per skill and overall."""
    found = {}
    for skill in SKILLS.values():
        generator = Random(f"{seed}/accuracy/{skill.name}")
        examples = [skill.generate(generator) for _ in range(checked)]
        pairs = [(example.prompt, example.completion) for example in examples]
        found[skill.name] = round(accuracy(model, tokenizer, pairs, answer_of=answer_of), 4)
    return {"overall": round(sum(found.values()) / len(found), 4), **found}


def _test_losses(
    tuned: Any,
    tokenizer: Any,
    states: Sequence[AdapterState],
    tasks: Sequence[DemoTask],
    *,
    settings: DemoSettings,
) -> dict[str, dict[str, float]]:
    """Per task, the loss on its test examples of the base model and at every checkpoint.

    A learning rate that ruins the model makes targets look reliable, because all gradients then
    point back to where it came from. These numbers are how one would notice.
    """
    limit, pad_id = settings.model.max_tokens, tokenizer.pad_token_id
    texts = {
        task.name: [
            encode(tokenizer, e["prompt"], e["completion"], max_tokens=limit) for e in task.test
        ]
        for task in tasks
    }

    def losses() -> dict[str, float]:
        return {
            name: round(held_out_loss(tuned, samples, pad_id=pad_id), 4)
            for name, samples in texts.items()
        }

    with tuned.disable_adapter():
        found = {"base": losses()}
    for state in states:
        load_adapter(tuned, state)
        found[state.checkpoint.name] = losses()
    return found


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with written_whole(path) as temporary:
        temporary.write_bytes("".join(line + "\n" for line in lines).encode())

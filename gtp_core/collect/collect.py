"""Gradients of a pool and its tasks at every checkpoint, projected, into a store."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from peft import PeftModel

from gtp_core.collect.encode import Encoded, batches, encode
from gtp_core.collect.gradients import ROW_KINDS, GradientModel, flat, gradient_rows
from gtp_core.collect.projection import Projection
from gtp_core.collect.warmup import AdapterState, load_adapter
from gtp_core.errors import CollectError
from gtp_core.store import EXAMPLE_COLUMNS, SAMPLE_COLUMNS, Store, StoreWriter

PRODUCER = {"name": "gtp_core.collect", "version": "1"}
Progress = Callable[[int, int, str], None]


def collect_store(
    model: PeftModel,
    tokenizer: Any,
    checkpoints: Sequence[AdapterState],
    records: Sequence[str],
    tasks: Mapping[str, Sequence[Mapping[str, str]]],
    folder: Path | str,
    *,
    dim: int,
    seed: int = 0,
    gradients: Mapping[str, str] | None = None,
    name: str = "store",
    model_id: str = "unnamed",
    max_tokens: int = 2048,
    max_batch_tokens: int = 8192,
    part_rows: int = 65_536,
    progress: Progress | None = None,
) -> Store:
    """Collect a store: every sample and every validation example, at every checkpoint.

    Args:
        checkpoints: adapter states of a warm-up, in training order.
        records: the pool, one JSON object a line: id, source, prompt, completion. The lines are
            kept in the store byte for byte.
        tasks: per task name its validation examples: example_id, subtask, prompt, completion.
        dim: length of a projected gradient.
        seed: of the projection.
        gradients: `{"samples": kind, "tasks": kind}`, kinds from ROW_KINDS; default both `adam`.

    Zero, NaN and infinite gradients go into the store, which flags them.

    Raises:
        CollectError: a record is no JSON object or lacks a field, or a gradient kind is unknown.
    """
    kinds = _checked_kinds(gradients or {"samples": "adam", "tasks": "adam"})
    source = GradientModel(model, pad_id=_pad_id(tokenizer))
    projection = Projection(source.input_dim, dim, seed)
    writer = StoreWriter(
        folder,
        name=name,
        dim=dim,
        checkpoints=[state.checkpoint for state in checkpoints],
        gradients=kinds,
        projection=projection.document(),
        model={"id": model_id, "adapter": adapter_document(model)},
        producer=PRODUCER,
    )
    collector = _Collector(source, checkpoints, projection, max_batch_tokens, progress)
    for start in range(0, len(records), part_rows):
        samples = sample_table(records[start : start + part_rows], first_line=start + 1)
        texts = _encoded(samples, tokenizer, max_tokens)
        samples = samples.with_columns(n_tokens=pl.Series([len(t) for t in texts], dtype=pl.Int32))
        writer.add_part(samples, collector.rows(texts, kinds["samples"], "samples"))
    for task, examples in tasks.items():
        table = pl.DataFrame([{c: e[c] for c in EXAMPLE_COLUMNS} for e in examples])
        texts = _encoded(table, tokenizer, max_tokens)
        writer.add_task(task, table, collector.rows(texts, kinds["tasks"], f"examples of {task}"))
    return writer.finish()


def sample_table(records: Sequence[str], *, first_line: int = 1) -> pl.DataFrame:
    """Pool lines as a table: the columns of a store's samples but n_tokens."""
    rows = [_row(line, first_line + at) for at, line in enumerate(records)]
    columns = [column for column in SAMPLE_COLUMNS if column != "n_tokens"]
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String))


def adapter_document(model: PeftModel) -> dict[str, Any]:
    """What the manifest says of the adapter."""
    config = model.peft_config[model.active_adapter]
    return {
        "type": "lora",
        "rank": config.r,
        "alpha": config.lora_alpha,
        "target_modules": sorted(config.target_modules),
    }


class _Collector:
    """Projected rows of any encoded samples at every checkpoint, in the samples' order."""

    def __init__(
        self,
        source: GradientModel,
        checkpoints: Sequence[AdapterState],
        projection: Projection,
        max_batch_tokens: int,
        progress: Progress | None,
    ) -> None:
        self._source = source
        self._checkpoints = checkpoints
        self._projection = projection
        self._max_batch_tokens = max_batch_tokens
        self._progress = progress

    def rows(self, texts: Sequence[Encoded], kind: str, what: str) -> dict[str, np.ndarray]:
        """Per checkpoint name, projected rows (n, dim) float32."""
        return {
            state.checkpoint.name: self._at(state, texts, kind, f"{what}, {state.checkpoint.name}")
            for state in self._checkpoints
        }

    def _at(
        self, state: AdapterState, texts: Sequence[Encoded], kind: str, what: str
    ) -> np.ndarray:
        load_adapter(self._source.model, state)
        moment = flat(state.second_moment, self._source.names)
        out = np.zeros((len(texts), self._projection.dim), np.float32)
        for done, batch in self._batches(texts):
            raw = self._source.gradients([texts[i] for i in batch])
            rows = gradient_rows(raw, kind=kind, second_moment=moment, step=state.checkpoint.step)
            out[batch] = self._projection.project(rows)
            if self._progress:
                self._progress(done, len(texts), what)
        return out

    def _batches(self, texts: Sequence[Encoded]) -> Iterator[tuple[int, list[int]]]:
        done = 0
        for batch in batches(texts, max_batch_tokens=self._max_batch_tokens):
            done += len(batch)
            yield done, batch


def _row(line: str, number: int) -> dict[str, str]:
    try:
        record = json.loads(line)
        row = {key: record[key] for key in ("id", "source", "prompt", "completion")}
    except (ValueError, TypeError, KeyError) as error:
        raise CollectError(
            f"line {number} of the pool is not usable ({error}); every line is a JSON object with "
            "id, source, prompt and completion. Mend the line."
        ) from None
    wrong = next((key for key, value in row.items() if not isinstance(value, str)), None)
    if wrong:
        raise CollectError(
            f"line {number} of the pool: {wrong} is {type(row[wrong]).__name__}; it must be text. "
            "Mend the line."
        )
    return {"sample_id": row.pop("id"), **row, "record": line}


def _encoded(table: pl.DataFrame, tokenizer: Any, max_tokens: int) -> list[Encoded]:
    pairs = table.select("prompt", "completion").iter_rows()
    return [encode(tokenizer, prompt, done, max_tokens=max_tokens) for prompt, done in pairs]


def _checked_kinds(gradients: Mapping[str, str]) -> dict[str, str]:
    kinds = {who: gradients.get(who, "adam") for who in ("samples", "tasks")}
    for who, kind in kinds.items():
        if kind not in ROW_KINDS:
            raise CollectError(
                f"gradient kind of {who} is {kind!r}; it can be collected as one of "
                f"{', '.join(ROW_KINDS)}."
            )
    return kinds


def _pad_id(tokenizer: Any) -> int:
    """Any token serves to pad, because padding is masked and follows every real token."""
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

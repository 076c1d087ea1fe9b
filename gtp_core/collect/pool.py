"""Pools and tasks as people have them: jsonl, parquet or a `datasets` folder, read row by row."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from gtp_core.collect.template import shown
from gtp_core.errors import CollectError
from gtp_core.store import SAMPLE_COLUMNS

_WANTED = "a record has messages, or prompt and completion"


@dataclass(frozen=True)
class Record:
    """One line of a pool: what it is called, what people read, and the line itself.

    `content` holds `messages`, or `prompt` and `completion`: what is encoded.
    """

    id: str
    source: str
    subtask: str
    prompt: str
    completion: str
    line: str
    content: dict[str, Any]


def read_records(path: Path | str) -> Iterator[Record]:
    """The records of a jsonl or parquet file or of a folder that `datasets` saved, in order.

    Without `id` (or `sample_id`, `example_id`) a record is called after its file and place;
    without `source` (or `dataset`) it comes from the file.

    Raises:
        CollectError: a file of another kind, or a record that cannot be used; it is named.
    """
    path = Path(path)
    for number, (row, line) in enumerate(_rows(path)):
        yield parse(row, line, path=path, number=number)


def parse(row: Any, line: str, *, path: Path, number: int) -> Record:
    """A row as a record; `number` counts from 0."""
    try:
        content = _content(row)
        prompt, completion = (
            shown(content["messages"])
            if "messages" in content
            else (content["prompt"], content["completion"])
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        told = error.args[0] if error.args else "nothing"
        raise CollectError(
            f"line {number + 1} of {path} is not usable ({type(error).__name__}: {told}); "
            f"{_WANTED}, all of them text. Mend the line."
        ) from None
    name = _first(row, ("id", "sample_id", "example_id"), f"{path.stem}-{number:07d}")
    source = _first(row, ("source", "dataset"), path.stem)
    subtask = _first(row, ("subtask",), "")
    return Record(name, source, subtask, prompt, completion, line, content)


def sample_table(records: list[Record], lengths: list[int]) -> pl.DataFrame:
    """Records, and how many tokens each has, as the columns of a store's samples."""
    rows = [
        (r.id, r.source, r.prompt, r.completion, length, r.line)
        for r, length in zip(records, lengths, strict=True)
    ]
    schema = dict.fromkeys(SAMPLE_COLUMNS, pl.String) | {"n_tokens": pl.Int32}
    return pl.DataFrame(rows, schema=schema, orient="row")


def example_table(records: list[Record]) -> pl.DataFrame:
    """Records as the examples of a task."""
    rows = [(r.id, r.subtask, r.prompt, r.completion) for r in records]
    columns = ("example_id", "subtask", "prompt", "completion")
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")


def content_of(line: str) -> dict[str, Any]:
    """What to encode of a line that a store keeps."""
    return _content(json.loads(line))


def pool_digest(paths: list[Path]) -> str:
    """SHA-256 over the bytes of every file of the pools, in order."""
    digest = hashlib.sha256()
    for path in paths:
        for file in _files(path):
            with open(file, "rb") as handle:
                while block := handle.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def _rows(path: Path) -> Iterator[tuple[Any, str]]:
    if path.is_dir() or path.suffix == ".parquet":
        for row in _table_rows(path):
            yield row, json.dumps(row, ensure_ascii=False, default=str)
    elif path.suffix in (".jsonl", ".json", ".ndjson"):
        yield from _json_rows(path)
    else:
        raise CollectError(
            f"{path} is no pool; wanted a .jsonl or .parquet file, or a folder that `datasets` "
            "saved. Convert it, or name it after what it is."
        )


def _json_rows(path: Path) -> Iterator[tuple[Any, str]]:
    try:
        with open(path, encoding="utf-8", newline="\n") as handle:
            for number, line in enumerate(handle):
                line = line.removesuffix("\n")
                if line.strip():
                    yield _json(line, path, number), line
    except (OSError, UnicodeDecodeError) as error:
        raise CollectError(
            f"{path} cannot be read ({type(error).__name__}); wanted JSON lines in UTF-8. "
            "Give the path of such a file."
        ) from None


def _json(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise CollectError(
            f"line {number + 1} of {path} is not JSON; a pool has one JSON object a line. "
            "Mend the line."
        ) from None


def _table_rows(path: Path) -> Iterator[dict[str, Any]]:
    for file in _files(path):
        try:
            if file.suffix == ".parquet":
                for batch in pq.ParquetFile(file).iter_batches(1024):
                    yield from batch.to_pylist()
            else:
                with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
                    for batch in stream:
                        yield from batch.to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise CollectError(
                f"{file} cannot be read ({type(error).__name__}); wanted Parquet, or Arrow as "
                "`datasets` saves it. Restore the file."
            ) from None


def _files(path: Path) -> list[Path]:
    """The data files of a pool, in order."""
    if not path.is_dir():
        if not path.is_file():
            raise CollectError(f"{path} is not there; give the path of a pool or task.")
        return [path]
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        return [path / entry["filename"] for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError):
        splits = sorted(p.parent.name for p in path.glob("*/state.json"))
        advice = f"Give one of its splits: {', '.join(splits)}." if splits else "Give such a one."
        raise CollectError(
            f"{path} is no folder that `datasets` saved: it has no usable state.json. {advice}"
        ) from None


def _content(row: Mapping[str, Any]) -> dict[str, Any]:
    if row.get("messages") is not None:
        messages = [{"role": m["role"], "content": m["content"]} for m in row["messages"]]
        if not messages:
            raise ValueError("no messages")
        texts = [text for m in messages for text in m.values()]
        found: dict[str, Any] = {"messages": messages}
    else:
        found = {name: row[name] for name in ("prompt", "completion")}
        texts = list(found.values())
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("something that is no text")
    return found


def _first(row: Mapping[str, Any], names: tuple[str, ...], otherwise: str) -> str:
    found = next((row[name] for name in names if row.get(name) is not None), otherwise)
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def in_parts(records: Iterator[Record], rows: int) -> Iterator[list[Record]]:
    """Records some at a time; the last part may be shorter."""
    while part := list(islice(records, rows)):
        yield part

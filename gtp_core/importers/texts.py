"""Texts of samples and examples, from the files that users have: JSON lines, Parquet, Arrow."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from gtp_core.errors import SourceError
from gtp_core.importers.folders import pairs
from gtp_core.store import EXAMPLE_COLUMNS, SAMPLE_COLUMNS

_IDS = ("sample_id", "id", "example_id", "uuid", "idx")
_SOURCES = ("source", "dataset")
_SUBTASKS = ("subtask", "subject", "language", "task")
_PROMPTS = (("instruction", "input"), ("prompt",), ("question",), ("context", "question"))
_COMPLETIONS = ("completion", "output", "response", "answer", "target", "text")
_TRAINED = ("input_ids", "labels", "length", "loss", "attention_mask")
_BYTES_PER_TOKEN = 4
_SCHEMA = {name: pl.Int64 if name == "n_tokens" else pl.String for name in SAMPLE_COLUMNS}

Record = tuple[str | None, dict[str, Any]]
"""The line as it stands, if there is one, and what it says."""


@dataclass(frozen=True)
class TextFile:
    """One training file: its name, where it is, and how many records it has."""

    name: str
    path: Path
    rows: int

    def records(self) -> Iterator[Record]:
        """Its records in order."""
        return _records(self.path)


@dataclass(frozen=True)
class SampleFiles:
    """The pool: one or more files one after the other.

    Attributes:
        parts: in the order of the rows.
        line_ids: whether ids are made from file name and line instead of read.
    """

    parts: tuple[TextFile, ...]
    line_ids: bool = False

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def files(self) -> tuple[tuple[str, int], ...]:
        return tuple((part.name, part.rows) for part in self.parts)

    @property
    def tokens_known(self) -> bool:
        first = next((r for part in self.parts for _, r in part.records()), {})
        return _tokens(first) is not None

    def tables(self, size: int) -> Iterator[pl.DataFrame]:
        """Tables of SAMPLE_COLUMNS, `size` rows each but the last."""
        rows: list[dict[str, Any]] = []
        for part in self.parts:
            for line, (text, record) in enumerate(part.records()):
                rows.append(_row(part.name, line, text, record, line_ids=self.line_ids))
                if len(rows) == size:
                    yield pl.DataFrame(rows, schema=_SCHEMA)
                    rows = []
        if rows:
            yield pl.DataFrame(rows, schema=_SCHEMA)


def sample_files(told: Sequence[str], names: Sequence[str], *, line_ids: bool) -> SampleFiles:
    """The training files a user names, `FILE` or `NAME=FILE`.

    Args:
        names: names of the training sets in the source, in order, where it has any.

    Raises:
        SourceError: none is given, one cannot be read, or they are not one per training set.
    """
    if not told:
        wanted = f" for {', '.join(names)}" if names else ""
        raise SourceError(
            f"the source holds no texts of samples{wanted}. Give the file it was built from with "
            "--samples FILE, or --samples NAME=FILE once for each training set."
        )
    found = [_named(text) for text in told]
    if len(found) == 1 and len(names) == 1:
        found = [(names[0], found[0][1])]
    if names and sorted(name for name, _ in found) != sorted(names):
        raise SourceError(
            f"--samples names {', '.join(name for name, _ in found)}; the source's training sets "
            f"are {', '.join(names)}. Give --samples NAME=FILE for each of them."
        )
    parts = [TextFile(name, Path(path), count_records(Path(path))) for name, path in found]
    return SampleFiles(tuple(parts), line_ids)


def _named(text: str) -> tuple[str, str]:
    name, sign, path = text.partition("=")
    if sign and "/" not in name and not Path(text).exists():
        return name, path
    return Path(text).stem, text


def count_records(path: Path) -> int:
    """How many records a file has; blank lines are none."""
    if not path.is_file():
        raise SourceError(f"{path} is not a file. Give a jsonl or parquet file of samples.")
    if path.suffix in (".parquet", ".arrow"):
        return sum(1 for _ in _records(path)) if path.suffix == ".arrow" else _parquet_rows(path)
    with open(path, "rb") as handle:
        return sum(1 for line in handle if line.strip())


def _parquet_rows(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError):
        raise SourceError(f"{path} is no usable Parquet file. Write it again.") from None


def _records(path: Path) -> Iterator[Record]:
    if path.suffix == ".parquet":
        yield from _parquet_records(path)
    elif path.suffix == ".arrow":
        yield from _arrow_records(path)
    else:
        yield from _line_records(path)


def _line_records(path: Path) -> Iterator[Record]:
    with open(path, "rb") as handle:
        for number, raw in enumerate(handle, 1):
            if not raw.strip():
                continue
            try:
                line = raw.decode("utf-8").rstrip("\n").rstrip("\r")
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise SourceError(
                    f"line {number} of {path} is not a JSON object in UTF-8. Mend the line."
                )
            yield line, record


def _parquet_records(path: Path) -> Iterator[Record]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1024):
                yield from map(_of_row, batch.to_pylist())
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{path} is no usable Parquet file ({type(error).__name__}). Write it again."
        ) from None


def _arrow_records(path: Path) -> Iterator[Record]:
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            for batch in stream:
                batch.validate(full=True)  # a damaged offset would be read outside the file
                for start in range(0, batch.num_rows, 1024):
                    yield from map(_of_row, batch.slice(start, 1024).to_pylist())
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise SourceError(
            f"{path} is no usable Arrow file ({type(error).__name__}). Build the source again."
        ) from None


def _of_row(row: dict[str, Any]) -> Record:
    kept = row.get("record")
    if isinstance(kept, str) and "\n" not in kept:
        return kept, row
    return None, row


def _row(
    name: str, line: int, text: str | None, record: dict[str, Any], *, line_ids: bool
) -> dict[str, Any]:
    told = next((record[key] for key in _IDS if record.get(key) is not None), None)
    prompt, completion = prompt_and_completion(record)
    tokens = _tokens(record)
    if tokens is None:
        tokens = -(-(len(prompt.encode()) + len(completion.encode())) // _BYTES_PER_TOKEN)
    if text is None:
        rest = {key: value for key, value in record.items() if key not in _TRAINED}
        text = json.dumps(rest, ensure_ascii=False, default=str)
    return {
        "sample_id": f"{name}-{line}" if line_ids or told is None else _plain(told),
        "source": _plain(next((record[k] for k in _SOURCES if record.get(k)), name)),
        "prompt": prompt,
        "completion": completion,
        "n_tokens": tokens,
        "record": _plain(text),
    }


def _tokens(record: Mapping[str, Any]) -> int | None:
    for key in ("n_tokens", "length"):
        value = record.get(key)
        if type(value) is int and 0 <= value < 1 << 62:
            return value
    return None


def prompt_and_completion(record: Mapping[str, Any]) -> tuple[str, str]:
    """A record's prompt and completion, from any of the usual fields."""
    messages = record.get("messages", record.get("conversations"))
    if isinstance(messages, list) and messages and all(isinstance(m, dict) for m in messages):
        turns = [_plain(m.get("content", m.get("value", ""))) for m in messages]
        return "\n".join(turns[:-1]), turns[-1]
    fields = next((f for f in _PROMPTS if all(isinstance(record.get(k), str) for k in f)), None)
    if fields is None and isinstance(record.get("instruction"), str):
        fields = ("instruction",)
    prompt = "\n".join(_plain(record[key]) for key in fields or () if record[key])
    found = next((record[k] for k in _COMPLETIONS if isinstance(record.get(k), str)), "")
    return prompt, _plain(found)


def _plain(value: object) -> str:
    """A text that can be written as UTF-8: half a surrogate pair becomes a question mark."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace").decode("utf-8")


def example_table(
    task: str, rows: int, records: Sequence[Mapping[str, Any]] | None, subtasks: str | None
) -> pl.DataFrame:
    """A task's examples: EXAMPLE_COLUMNS, one row for each row of gradients.

    Args:
        records: what is known of each example; none when nobody gave a file.
        subtasks: number of equal groups, `each`, or None to read them from the records.

    Raises:
        SourceError: another number of records than rows, or groups that do not come out even.
    """
    if records is not None and len(records) != rows:
        raise SourceError(
            f"task {task} has {rows:,} rows of gradients and {len(records):,} examples in its "
            "file; every row needs its example. Give the file that was used."
        )
    known = records if records is not None else [{}] * rows
    names = _subtasks(task, rows, known, subtasks)
    texts = [prompt_and_completion(record) for record in known]
    return pl.DataFrame(
        {
            "example_id": [f"{task}-{at}" for at in range(rows)],
            "subtask": names,
            "prompt": [prompt for prompt, _ in texts],
            "completion": [completion for _, completion in texts],
        },
        schema=dict.fromkeys(EXAMPLE_COLUMNS, pl.String),
    )


def _subtasks(
    task: str, rows: int, records: Sequence[Mapping[str, Any]], told: str | None
) -> list[str]:
    if told == "each":
        return [f"{task}-{at}" for at in range(rows)]
    if told is None:
        key = next((k for k in _SUBTASKS if all(isinstance(r.get(k), str) for r in records)), None)
        return [_plain(record[key]) if key else "" for record in records]
    if not told.isdecimal() or not int(told) or rows % int(told):
        raise SourceError(
            f"task {task} has {rows:,} rows, which are not {told} equal groups. "
            f"Give --subtasks {task}=N that divides them, or {task}=each."
        )
    count, each = int(told), rows // int(told)
    width = len(str(count))
    return [f"subtask-{at // each + 1:0{width}}" for at in range(rows)]


def example_records(path: Path) -> list[dict[str, Any]]:
    """Examples in a file: JSON lines, Parquet, or one of LESS's JSON objects per subtask."""
    if path.suffix == ".json":
        return _less_examples(path)
    count_records(path)
    return [record for _, record in _records(path)]


def _less_examples(path: Path) -> list[dict[str, Any]]:
    """LESS's few-shot files: subtask -> list of examples, or a prompt of question-answer blocks."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        document = None
    if isinstance(document, list) and all(isinstance(entry, dict) for entry in document):
        return document
    if not isinstance(document, dict):
        raise SourceError(f"{path} is no JSON of examples. Give JSON lines with one example each.")
    found: list[dict[str, Any]] = []
    for subtask, value in document.items():
        blocks = value.split("\n\n")[1:] if isinstance(value, str) else value
        if not isinstance(blocks, list):
            raise SourceError(f"{path}: {subtask!r} is no list of examples. Give JSON lines.")
        for block in blocks:
            record = block if isinstance(block, dict) else {"text": str(block)}
            found.append({**record, "subtask": subtask})
    return found


def task_files(told: Sequence[str]) -> dict[str, str]:
    """Tasks a user names, each with its file of examples or with nothing."""
    return pairs("--task", told, name_only=True)

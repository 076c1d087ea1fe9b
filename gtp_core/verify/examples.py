"""Test examples of a task: read, and refused where the selection has seen them."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gtp_core.collect.pool import Record, read_records
from gtp_core.errors import TaskError
from gtp_core.store import Store

_MARKS = re.compile(r"####|\banswer is\b:?|\banswer:", re.I)
_SHORT = 64  # characters: a completion this short is itself the answer


@dataclass(frozen=True)
class TestSet:
    """The examples that trained models are asked, and where they come from.

    Attributes:
        answers: the wanted final answers; empty where the task has none.
        digest: SHA-256 of all that is asked.
    """

    __test__ = False  # pytest takes the name for one of its own

    records: tuple[Record, ...]
    answers: tuple[str, ...]
    digest: str


def read_test(
    store: Store, tasks: Sequence[str], files: Sequence[Path], *, most: int = 0
) -> TestSet:
    """The test examples, at most so many of them, drawn by chance and kept in their order.

    Raises:
        TaskError: none at all, or one that is a validation example of these tasks.
    """
    records = [record for path in files for record in read_records(path)]
    if not records:
        raise TaskError(f"{files[0]} has no examples; give test examples with --test.")
    for task in tasks:
        check_apart(records, store.examples(task), task)
    if most and most < len(records):
        kept = np.random.default_rng(0).choice(len(records), most, replace=False)
        records = [records[i] for i in np.sort(kept)]
    answers = [answer_in(record) for record in records]
    lines = "\n".join(record.line for record in records)
    digest = hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()
    known = tuple(a for a in answers if a is not None)
    return TestSet(tuple(records), known if len(known) == len(records) else (), digest)


def check_apart(records: Sequence[Record], validation: pl.DataFrame, task: str) -> None:
    """Refuse a test example that the selection was made with: the same id, or the same prompt.

    A prompt is the same whatever its spaces and capitals.

    Raises:
        TaskError: the first such example.
    """
    ids = set(validation["example_id"])
    prompts = {_plain(prompt) for prompt in validation["prompt"]}
    named = {"id", "example_id", "sample_id"}
    for record in records:
        told = named & _fields(record).keys()  # else it is called after file and place
        same = "id" if told and record.id in ids else ""
        same = same or ("prompt" if _plain(record.prompt) in prompts else "")
        if same:
            raise TaskError(
                f"test example {record.id!r} has the {same} of a validation example of {task}, "
                "which the selection was made with; a test asks what it has not seen. Give other "
                "examples with --test."
            )


def seen_in(records: Sequence[Record], prompts: Sequence[str]) -> int:
    """How many test examples have a prompt that is among these, whatever spaces and capitals."""
    known = {_plain(prompt) for prompt in prompts}
    return sum(_plain(record.prompt) in known for record in records)


def answer_in(record: Record) -> str | None:
    """The final answer a test example wants: its field `answer`, or what its completion ends in.

    None where it has no such field, no mark of an answer, and a completion that is no answer.
    """
    spoken = [m for m in record.content.get("messages", ()) if m["role"] == "assistant"]
    if len(spoken) > 1:  # a model cannot be asked for several answers at once
        return None
    told = _fields(record).get("answer")
    if told is not None:
        return final_answer(str(told))
    is_answer = _MARKS.search(record.completion) or len(record.completion.strip()) <= _SHORT
    return final_answer(record.completion) if is_answer else None


def final_answer(text: str) -> str:
    """What stands after the last mark of an answer, up to its line end; else the first line.

    >>> final_answer("48 / 2 = 24. So the answer is 1,024.")
    '1024'
    >>> final_answer("3 + 4 = 7\\n#### 7")
    '7'
    >>> final_answer(" Saturday.")
    'saturday'
    """
    found = list(_MARKS.finditer(text))
    rest = text[found[-1].end() :] if found else text
    line = (rest.strip().split("\n", 1)[0]).strip().rstrip(".").lstrip("$").strip()
    line = re.sub(r"(?<=\d),(?=\d{3})", "", line)
    return re.sub(r"\s+", " ", line).casefold()


def _fields(record: Record) -> dict[str, Any]:
    found = json.loads(record.line)
    return found if isinstance(found, dict) else {}


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()

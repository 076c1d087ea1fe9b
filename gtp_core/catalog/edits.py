"""The edit log: pins, bans, tags and keepers, who said so and when; undo is another line.

A batch is one line that names many samples: it is written in one go, a kill leaves all of it or
nothing, and undoing that line takes all of it back.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from gtp_core.errors import CatalogError

EDIT_KINDS = ("pin", "ban", "free", "tag", "untag", "keeper", "split", "duplicate", "distinct")
"""What an edit may do; `free` takes a sample out of pins and bans, `untag` takes a tag off,
`keeper` prefers a sample among its duplicates, `split` says that two samples must not stand for
each other (or, with no `value`, that the group of a sample is to be split until all its members are
alike), `duplicate` and `distinct` that two are or are not duplicates, for choosing a threshold."""

LOG = "edits.jsonl"


@dataclass(frozen=True)
class Edit:
    """One line of the edit log: who did what to which samples; an undo is another line.

    Attributes:
        edit: number of its line in the log, from 1. It is not stored: two people who append at
            once could not both know it.
        time: UTC, ISO 8601.
        what: one of EDIT_KINDS; or undo, and then `undoes` is the number of a line.
        sample_id: the sample, of an edit of one.
        value: the tag; of a split, the other sample.
        sample_ids: the samples, of an edit of many.
    """

    edit: int
    time: str
    who: str
    what: str
    sample_id: str = ""
    value: str = ""
    undoes: int = 0
    sample_ids: tuple[str, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        """Every sample it is about, one or many."""
        return self.sample_ids or ((self.sample_id,) if self.sample_id else ())


@dataclass(frozen=True)
class Standing:
    """What the edits in force ask of the next problem; the last word about a sample counts.

    Attributes:
        pins: ids that must be chosen, in the pool's order.
        bans: ids that must not be.
    """

    pins: tuple[str, ...] = ()
    bans: tuple[str, ...] = ()


def append_edit(
    workspace: Path,
    *,
    who: str,
    what: str,
    sample_id: str = "",
    sample_ids: Sequence[str] = (),
    value: str = "",
    undoes: int = 0,
) -> Edit:
    """Add a line to the edit log; it is on disk when this returns.

    Raises:
        CatalogError: an unknown kind of edit, one without a sample, or an undo of a line that is
            not there.
    """
    if what not in (*EDIT_KINDS, "undo"):
        raise CatalogError(
            f"edit {what!r} is not one of {', '.join(EDIT_KINDS)}, undo. Choose one of them."
        )
    if what != "undo" and not sample_id and not sample_ids:
        raise CatalogError(f"a {what} names no sample; every edit is about one. Give its id.")
    log = read_edits(workspace)
    if what == "undo" and undoes not in {edit.edit for edit in log if edit.what != "undo"}:
        raise CatalogError(
            f"edit {undoes} is none that can be taken back in the log of {len(log)}; nothing was "
            "undone. Choose a pin, ban, tag, keeper or other line that is no undo."
        )
    time = datetime.now(UTC).isoformat(timespec="seconds")
    edit = Edit(0, time, who, what, sample_id, value, undoes, tuple(sample_ids))
    return replace(edit, edit=_append_line(workspace / LOG, edit))


def _append_line(path: Path, edit: Edit) -> int:
    """Append in one write, whoever else does so at the same time; the number of the new line."""
    said = {name: value for name, value in asdict(edit).items() if name != "edit"}
    if not edit.sample_ids:
        del said["sample_ids"]
    # A lone surrogate, which a browser can send, has no UTF-8.
    line = json.dumps(said, ensure_ascii=False).encode(errors="replace") + b"\n"
    with open(path, "ab+", buffering=0) as handle:
        if handle.seek(0, os.SEEK_END) and path.read_bytes()[-1:] != b"\n":
            line = b"\n" + line  # after a line that a kill cut short
        written = handle.write(line)
        os.fsync(handle.fileno())
        end = handle.tell()
    if written != len(line):
        raise CatalogError(
            f"{path} took {written:,} of {len(line):,} bytes, so this edit does not count. "
            "Make space on the disk and edit again."
        )
    return path.read_bytes()[:end].count(b"\n")


def read_edits(workspace: Path) -> list[Edit]:
    """The edit log. A last line that a kill cut short is ignored, as if never written."""
    path = workspace / LOG
    if not path.exists():
        return []
    known = path.stat()
    return list(_edits_in(path, known.st_size, known.st_mtime_ns))


def active_edits(edits: Sequence[Edit]) -> list[Edit]:
    """The edits that were not undone."""
    undone = {edit.undoes for edit in edits if edit.what == "undo"}
    return [edit for edit in edits if edit.what != "undo" and edit.edit not in undone]


def marks_of(edits: Sequence[Edit]) -> dict[str, str]:
    """By sample id, `pin` or `ban`: the last word of these edits in force."""
    marks: dict[str, str] = {}
    for edit in edits:
        if edit.what in ("pin", "ban"):
            marks.update(dict.fromkeys(edit.samples, edit.what))
        elif edit.what == "free":
            for sample_id in edit.samples:
                marks.pop(sample_id, None)
    return marks


def tags_of(edits: Sequence[Edit]) -> list[tuple[str, str]]:
    """Sample id and tag of every tag that these edits in force leave, oldest first."""
    tags: dict[tuple[str, str], None] = {}
    for edit in edits:
        pairs = [(sample_id, edit.value) for sample_id in edit.samples]
        if edit.what == "tag":
            tags.update(dict.fromkeys(pairs))
        elif edit.what == "untag":
            for pair in pairs:
                tags.pop(pair, None)
    return list(tags)


def last_of(edits: Sequence[Edit], who: str) -> Edit | None:
    """The newest edit in force that someone made: what their undo takes back."""
    return next((edit for edit in reversed(edits) if edit.who == who), None)


@lru_cache(maxsize=4)
def _edits_in(path: Path, size: int, changed: int) -> tuple[Edit, ...]:
    """The edits of a log, kept until it changes: an edit of 150,000 samples takes 0.1 s to read."""
    return tuple(_edit_lines(path))


def _edit_lines(path: Path) -> Iterator[Edit]:
    # Split at newlines only: `splitlines` also breaks a line at U+2028 inside a tag or an id.
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        try:
            said = json.loads(line)
            edit = Edit(**{**said, "edit": number, "sample_ids": tuple(said.get("sample_ids", ()))})
        except (ValueError, TypeError, AttributeError, RecursionError):
            continue
        texts = (edit.time, edit.who, edit.what, edit.sample_id, edit.value, *edit.sample_ids)
        if all(isinstance(text, str) for text in texts) and isinstance(edit.undoes, int):
            yield edit

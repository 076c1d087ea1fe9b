"""Finding things in a source: folders by pattern, and paths that stay inside."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from gtp_core.errors import SourceError


def inside(folder: Path, name: object) -> Path:
    """The path of `name` in `folder`; a name from a manifest must not lead outside.

    Raises:
        SourceError: the name is absolute, climbs out, or is no name.
    """
    if not isinstance(name, str) or not name or "\0" in name or "\\" in name:
        raise SourceError(f"{folder} names a file {name!r}, which is no file name. Mend it.")
    path = folder / name
    if Path(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        raise SourceError(f"{folder} names {name!r}, which lies outside the source. Mend it.")
    return path


def matcher(pattern: str) -> re.Pattern[str]:
    """A pattern of folders: {name}, {step} and {kind} are parts to read, * is any part."""
    try:
        text = re.sub(r"\\\{(\w+)\\\}|\\\*", _group, re.escape(pattern.strip("/")))
        return re.compile(rf"(?:.*/)?{text}")
    except (re.error, KeyError):
        raise SourceError(
            f"pattern {pattern!r} is not usable; it may hold {{name}}, {{step}}, {{kind}} once "
            "each, and *. Write one like 'train/{name}-ckpt{step}-adam'."
        ) from None


def _group(found: re.Match[str]) -> str:
    if found[1] is None:
        return "[^/]*"
    return {"step": r"(?P<step>\d+)", "name": "(?P<name>[^/]+?)", "kind": "(?P<kind>[a-z]+)"}[
        found[1]
    ]


def pairs(flag: str, told: Iterable[str], *, name_only: bool = False) -> dict[str, str]:
    """NAME=VALUE as told, in order.

    Args:
        name_only: whether NAME alone will do; its value is then empty.
    """
    found: dict[str, str] = {}
    for text in told:
        name, sign, value = text.partition("=")
        if not name or (not sign and not name_only) or name in found:
            raise SourceError(f"{flag} {text!r} is repeated or not NAME=VALUE. Write NAME=VALUE.")
        found[name] = value
    return found


def listed(names: Sequence[object], most: int = 6) -> str:
    """A few names for a sentence."""
    few = ", ".join(map(str, names[:most]))
    return few + (f" and {len(names) - most} more" if len(names) > most else "")

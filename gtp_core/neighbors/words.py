"""Two texts word by word, and samples as filters that a link carries."""

import difflib
import re
from collections.abc import Sequence

from gtp_core.catalog import Filter, spell_filters

_LONGEST = 1900  # characters of a filter that a link carries, less those around the ids
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


def link_to(sample_ids: Sequence[str]) -> tuple[str, int]:
    """Samples as a filter that a link to the table of samples carries, and how many it can."""
    quoted: list[str] = []
    for name in sample_ids:
        quoted.append("'" + name.replace("'", "''") + "'")
        if sum(map(len, quoted)) + 2 * len(quoted) > _LONGEST:
            quoted.pop()
            break
    link = spell_filters([Filter("where", f"sample_id IN ({', '.join(quoted)})")])
    return link, len(quoted)


def link_by(kind: str, value: str) -> str:
    """One filter, such as a tag or a source, as a link to the table of samples carries it."""
    return spell_filters([Filter(kind, value)])


def word_diff(one: str, other: str, *, most: int = 4000) -> list[tuple[str, str]]:
    """What must change of one text to get another, word by word: (sign, text).

    The sign is ` ` for what both have, `-` for what only the first has, `+` for the second. Texts
    are compared up to `most` characters.

    Example:
        >>> word_diff("add 3 and 4", "add 3 and 5")
        [(' ', 'add 3 and '), ('-', '4'), ('+', '5')]
    """
    a, b = _WORDS.findall(one[:most]), _WORDS.findall(other[:most])
    found: list[tuple[str, str]] = []
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            found.append((" ", "".join(a[i:j])))
            continue
        found += [("-", "".join(a[i:j]))] if j > i else []
        found += [("+", "".join(b[k:m]))] if m > k else []
    return found


def diff_lines(one: str, other: str) -> str:
    """`word_diff` as lines, each beginning with its sign."""
    lines = [
        f"{sign} {line}"
        for sign, text in word_diff(one, other)
        for line in text.split("\n")
        if line.strip()
    ]
    return "\n".join(lines) or "(no words)"

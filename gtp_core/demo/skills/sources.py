"""The sources of the demo's pool: how large, which skills they show, and how careless they are."""

from dataclasses import dataclass

from gtp_core.demo.skills import SKILLS

COPIES = ("exact-duplicate", "near-duplicate", "paraphrase-duplicate")
KINDS = ("clean", *COPIES, "wrong-answer", "truncated", "filler")


@dataclass(frozen=True)
class Source:
    """A source: its share of the pool, the weight of each skill, and the share of each fault."""

    name: str
    share: float
    skills: dict[str, int]
    faults: dict[str, float]


def _faults(
    *,
    exact: float = 0.0,
    near: float = 0.0,
    paraphrase: float = 0.0,
    wrong: float = 0.0,
    truncated: float = 0.0,
    filler: float = 0.0,
) -> dict[str, float]:
    """The share of each kind of fault, in the order of `KINDS`; what is left is clean."""
    return dict(zip(KINDS[1:], (exact, near, paraphrase, wrong, truncated, filler), strict=True))


SOURCES = (
    Source(
        "textbook",
        0.08,
        {"word-problems": 6, "arithmetic": 2, "unit-conversion": 2, "dates": 1},
        _faults(paraphrase=0.01),
    ),
    Source(
        "worksheets",
        0.14,
        {"arithmetic": 4, "unit-conversion": 2, "sequence": 3, "comparison": 3, "dates": 2},
        _faults(exact=0.01, near=0.02, paraphrase=0.06, wrong=0.02, truncated=0.01),
    ),
    Source(
        "forum",
        0.15,
        dict.fromkeys(SKILLS, 1),
        _faults(exact=0.02, near=0.02, paraphrase=0.03, wrong=0.12, truncated=0.05, filler=0.18),
    ),
    Source(
        "scraped-web",
        0.20,
        {"paraphrase": 3, "classification": 3, "comparison": 2, "glossary": 2, "logic": 2}
        | {"dates": 1, "string-edit": 1, "word-problems": 1},
        _faults(exact=0.14, near=0.05, paraphrase=0.03, wrong=0.06, truncated=0.06, filler=0.40),
    ),
    Source(
        "synthetic-a",
        0.13,
        {"word-problems": 4, "logic": 3, "sequence": 2, "arithmetic": 3, "comparison": 2},
        _faults(exact=0.02, near=0.17, paraphrase=0.11, wrong=0.08, truncated=0.02),
    ),
    Source(
        "synthetic-b",
        0.11,
        {"string-edit": 3, "list-ops": 3, "paraphrase": 2, "table-lookup": 2}
        | {"extract-json": 2, "classification": 2, "glossary": 2},
        _faults(exact=0.02, near=0.15, paraphrase=0.12, wrong=0.10, truncated=0.02, filler=0.02),
    ),
    Source(
        "helpdesk",
        0.10,
        {"extract-json": 5, "classification": 4, "table-lookup": 2, "paraphrase": 1, "dates": 1},
        _faults(exact=0.01, near=0.03, paraphrase=0.03, wrong=0.03, truncated=0.02, filler=0.08),
    ),
    Source(
        "notebooks",
        0.09,
        {"code": 5, "list-ops": 4, "table-lookup": 3, "string-edit": 3},
        _faults(exact=0.01, near=0.03, paraphrase=0.02, wrong=0.04, truncated=0.02),
    ),
)

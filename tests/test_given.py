"""Promises of lists that someone else chose: read from bytes, hostile or not, and compared."""

import json

import numpy as np
import pytest

from gtp_core.atoms import pose
from gtp_core.errors import RunError
from gtp_core.methods import Settings, select
from gtp_core.report import beside, given, held_out, ids_of
from gtp_core.report.given import match_of


@pytest.mark.parametrize(
    "text",
    [
        "a\nb\u2028c\n",
        "\ufeffa\r\nb\u2028c",
        '{"sample_id": "a", "x": 1}\n\n{"sample_id": "b\u2028c"}\n',
        json.dumps({"sample_ids": ["a", "b\u2028c"], "run": {}}),
    ],
)
def test_ids_are_read_in_every_form(text):
    assert ids_of(text.encode(), "the list") == ["a", "b\u2028c"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe\x00", "cannot be read"),
        (b"x" * 60, "at most 50"),
        (b'{"sample_ids": {"a": 1}}', "no list of texts"),
        (b'{"sample_id": "a"}\n{"sample_id": 3}', "line 2"),
    ],
)
def test_what_is_no_list_is_refused_in_one_sentence(content, words, says, monkeypatch):
    import sys

    monkeypatch.setattr(sys.modules["gtp_core.report.given"], "MOST_BYTES", 50)
    with pytest.raises(RunError) as error:
        ids_of(content, "your file")
    says(error.value, words, "your file")


def test_a_list_is_matched_with_the_halves_and_fitted_to_none(catalog):
    problem = pose(catalog, "maths")
    chosen = select(problem, 6)
    ids = catalog.sample_ids().gather(chosen.support).to_list()
    listed = given(catalog, problem, ids)
    total = problem.atoms.rows(listed.support).astype(float).sum(axis=0)
    lengths = [np.linalg.norm(split.rest) for split in problem.splits]
    expected = [
        total @ split.rest / length / np.linalg.norm(total)
        for split, length in zip(problem.splits, lengths, strict=True)
    ]
    found = match_of(problem, listed)
    assert found.match == pytest.approx(np.mean(expected))
    held = held_out(problem, 6, method="gtp", settings=Settings())
    assert found.ceiling == pytest.approx(held.ceiling)
    table = beside(problem, listed, {"GTP": chosen}, {"GTP": held})
    assert table["also in your list"].to_list() == [6, 6]
    assert table["held-out match"].to_list() == [found.match, held.match]


def test_with_a_single_example_nothing_is_known(catalog):
    problem = pose(catalog, "maths", n_splits=0)
    listed = given(catalog, problem, ["id-0001", "id-0002"])
    assert match_of(problem, listed) is None
    table = beside(problem, listed, {}, {})
    assert table["held-out match"].to_list() == [None]

"""Promises of gtp_core.report.drift: it speaks where GTP leaves the few sources top-k stays in."""

from dataclasses import replace

import conftest
import numpy as np
import polars as pl
import pytest

from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.methods import select
from gtp_core.report import drift, source_mix


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """240 samples of which twelve, one in twenty, are of a source `rare`."""
    folder = tmp_path_factory.mktemp("drift")
    with pytest.MonkeyPatch.context() as patch:
        table = conftest.sample_table

        def with_rare(*args, **what):
            made = table(*args, **what)
            here = pl.int_range(pl.len()) % 20 == 0
            rare = pl.when(here).then(pl.lit("rare")).otherwise(pl.col("source"))
            return made.with_columns(rare.alias("source"))

        patch.setattr(conftest, "sample_table", with_rare)
        store = conftest.build_store(folder / "store", n=240, part_rows=(240,))
    opened = open_catalog(store)
    yield opened
    opened.close()


def chosen(many, support):
    """A selection of these samples."""
    selection = select(pose(many, "maths"), 10)
    support = np.array(support)
    return replace(selection, support=support, weights=np.ones(len(support)))


RARE = np.arange(0, 200, 20)
OTHERS = RARE + 3


def test_it_names_the_source_and_the_shares(many):
    mixed = np.concatenate([RARE[:4], OTHERS[:6]])
    (said,) = drift(many, chosen(many, mixed), chosen(many, RARE))
    mix = source_mix(many, {"top-k": RARE})
    share = float(mix.filter(source="rare")["pool"][0])
    assert share == pytest.approx(0.05)
    assert "100% of top-k's samples are from 'rare', 5% of the pool; of GTP's 40%." in said
    assert "where it was not, GTP's samples did." in said  # it cannot tell whose kind they are


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (RARE, RARE),
        (np.concatenate([RARE[:8], OTHERS[:2]]), RARE),
        (OTHERS, np.concatenate([RARE[:5], OTHERS[:5]])),
        (OTHERS, []),
        ([], RARE),
    ],
    ids=["the same", "most of it", "top-k is spread", "no top-k", "no GTP"],
)
def test_it_is_silent_elsewhere(many, ours, theirs):
    assert drift(many, chosen(many, ours), chosen(many, theirs)) == []

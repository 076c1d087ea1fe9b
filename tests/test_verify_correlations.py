"""Promises of the correlations of a verification: known ones are found, noise is not."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr, spearmanr

from gtp_core.verify import correlations


def arms(n=12, *, seeds=3, slope=-1.0, noise=0.3, task="one", start=0):
    """A row for each arm and seed: the loss falls with the match and knows no residual."""
    generator = np.random.default_rng(5 + start)
    match = generator.normal(size=n)
    return pl.DataFrame(
        [
            {
                "arm": f"{task}-{i}",
                "task": task,
                "match": match[i],
                "residual_weighted": float(generator.normal()),
                "residual_as_trained": None if i < n - 2 else 1.0,
                "loss": slope * match[i] + noise * generator.normal(),
            }
            for i in range(n)
            for _ in range(seeds)
        ],
        infer_schema_length=None,
    ).with_columns(pl.col("residual_weighted").first().over("arm"))


def test_they_are_scipys_over_the_means_of_arms():
    trials = arms()
    found = {row["judge"]: row for row in correlations(trials)}
    means = trials.group_by("arm", maintain_order=True).agg(
        pl.col("match").first(), pl.col("loss").mean()
    )
    one = found["match"]
    assert one["n"] == 12
    np.testing.assert_allclose(one["spearman"], spearmanr(means["match"], means["loss"])[0])
    np.testing.assert_allclose(one["pearson"], pearsonr(means["match"], means["loss"])[0])
    assert one["spearman_low"] <= one["spearman"] <= one["spearman_high"] < 0
    assert (
        found["residual_weighted"]["pearson_low"] < 0 < found["residual_weighted"]["pearson_high"]
    )


def test_too_few_arms_and_what_does_not_vary_have_no_correlation():
    found = {row["judge"]: row for row in correlations(arms())}
    assert found["residual_as_trained"]["n"] == 2
    assert found["residual_as_trained"]["spearman"] is None
    level = arms().with_columns(match=pl.lit(0.5))
    (one,) = correlations(level, judges=["match"])
    assert (one["n"], one["pearson"], one["pearson_low"]) == (12, None, None)
    (none,) = correlations(arms().clear(), judges=["match"])
    assert none["n"] == 0


def test_the_same_seed_gives_the_same_interval_and_more_arms_a_narrower_one():
    few, many = arms(6), arms(60)
    assert correlations(few) == correlations(few)
    widths = []
    for trials in (few, many):
        (one,) = correlations(trials, judges=["match"])
        widths.append(one["spearman_high"] - one["spearman_low"])
    assert widths[1] < widths[0]


def test_tasks_of_different_levels_do_not_make_a_correlation():
    """Two tasks, in each the loss falls with the match; the harder one has the higher match."""
    easy = arms(8)
    hard = arms(8, task="two", start=1).with_columns(pl.col("loss", "match") + 10)
    both = pl.concat([easy, hard])
    (pooled,) = correlations(both, judges=["match"])
    (within,) = correlations(both, judges=["match"], within=["task"])
    assert pooled["pearson"] > 0.9
    assert within["pearson"] < -0.8
    assert within["spearman_high"] < 0


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    """No correlation at all, 40 draws of 20 arms: rarely does the interval leave out 0."""
    generator = np.random.default_rng(0)
    out = 0
    for _ in range(40):
        table = pl.DataFrame(
            {
                "arm": range(20),
                "match": generator.normal(size=20),
                "loss": generator.normal(size=20),
            }
        )
        (one,) = correlations(table, judges=["match"], draws=400)
        out += not one["spearman_low"] < 0 < one["spearman_high"]
    assert out <= 6


def test_rows_may_be_called_runs():
    trials = arms().rename({"arm": "run"})
    assert correlations(trials, judges=["match"])[0]["n"] == 12
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        correlations(trials.drop("run"), judges=["match"])

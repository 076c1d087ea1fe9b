"""Whether GTP leaves the sources that top-k stays in: where its samples trained worse models."""

import polars as pl

from gtp_core.catalog import Catalog
from gtp_core.pursuit import Selection
from gtp_core.report.compare import source_mix

_MOST_OF = 0.9  # of top-k's samples, from the fewest sources that have them
_SMALL = 0.25  # of the pool: larger sources say nothing of the task
_STAYED = 0.75  # of GTP's samples in the same sources; in the trial it lost below, and not above
_NAMED = 3


def drift(catalog: Catalog, gtp: Selection, topk: Selection) -> list[str]:
    """A sentence where GTP takes far fewer samples than top-k from the few sources top-k takes.

    The rule was read off the real pool of `benchmarks.selection_quality`: it speaks where top-k
    trained the better model (two tasks, at 1 and 2 % with a weak model, at 5 % with a better one),
    is silent where it did not, and cannot tell the third task, where top-k's sources were not the
    task's kind: that is for the curator.
    """
    if not len(topk.support) or not len(gtp.support):
        return []
    table = source_mix(catalog, {"gtp": gtp.support, "top-k": topk.support})
    table = table.sort("top-k", "source", descending=[True, False])
    before = pl.col("top-k").cum_sum() - pl.col("top-k")
    home = table.filter(before < _MOST_OF - 1e-9)
    pool, ours, theirs = (float(home[name].sum()) for name in ("pool", "gtp", "top-k"))
    if pool > _SMALL or ours > _STAYED:
        return []
    names = home["source"].to_list()
    told = ", ".join(map(repr, names[:_NAMED])) + (" and others" if len(names) > _NAMED else "")
    return [
        f"{theirs:.0%} of top-k's samples are from {told}, {pool:.0%} of the pool; of GTP's "
        f"{ours:.0%}. Is that the task's own kind? Then top-k's samples trained the better model "
        "in our trial, and ridge alike made GTP level with it up to 5 % of the pool; where it was "
        "not, top-k's did harm. Verify tries both on your model."
    ]

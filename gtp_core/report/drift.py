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

    The rule was read off the real pool of `benchmarks.selection_quality`. There it speaks wherever
    top-k is ahead with intervals apart (two tasks, from 5 % on; with a weaker model at 1 and 2 %),
    and not on these two where it is not. But it speaks as well where top-k's sources are not the
    task's kind and GTP trained the better model (bbh at 0.5 and 1 %, in-domain at 0.5 to 5 %):
    whose kind they are is for the curator to say.
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
        f"{ours:.0%}. Is that the task's own kind? Where it was in our trial, top-k's samples "
        "trained the better model, and ridge alike made GTP level up to 5 % of the pool; where it "
        "was not, GTP's samples did. Verify tries both on your model."
    ]

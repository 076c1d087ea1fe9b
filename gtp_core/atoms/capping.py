"""Caps of a pool: how many samples of one source, one cluster, one text may be chosen."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from gtp_core.atoms.problem import Cap
from gtp_core.catalog import Catalog
from gtp_core.errors import TaskError

CAPS = {
    "source": "samples of one source",
    "cluster": "samples of one cluster of near-duplicates",
    "duplicate": "samples with exactly the same prompt and completion",
}
"""What can be capped, in words."""


def pool_caps(
    catalog: Catalog, wanted: Mapping[str, int], sources: np.ndarray, pinned: np.ndarray
) -> tuple[Cap, ...]:
    """The caps a curator asked for, in the order of CAPS.

    Args:
        catalog: an open catalog.
        wanted: by key of CAPS, the most samples of a group.
        sources: (n_samples,) codes of the sources.
        pinned: rows that are chosen whatever happens.

    Raises:
        TaskError: an unknown cap, one below 1, no clusters, or more pins in a group than its cap.
    """
    for name, most in wanted.items():
        _check(name, most)
    found: list[Cap] = []
    if "source" in wanted:
        found.append(Cap(sources, wanted["source"], "source"))
    if "cluster" in wanted:
        found += [Cap(groups, wanted["cluster"], "cluster") for groups in _clusters(catalog)]
    if "duplicate" in wanted:
        found.append(Cap(_copies(catalog), wanted["duplicate"], "text"))
    for cap in found:
        _check_pins(catalog, cap, pinned)
    return tuple(found)


def _check(name: str, most: int) -> None:
    if name not in CAPS:
        raise TaskError(f"cap {name!r} is unknown; there are {', '.join(CAPS)}.")
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise TaskError(f"the cap per {name} is {most}; give a whole number of at least 1.")
    if name == "duplicate" and most > 1:
        raise TaskError(f"the cap per duplicate is {most}; of exact copies one stays. Give 1.")


def _check_pins(catalog: Catalog, cap: Cap, pinned: np.ndarray) -> None:
    groups = cap.groups[pinned]
    codes, counts = np.unique(groups[groups >= 0], return_counts=True)
    over = counts > cap.most
    if over.any():
        first = catalog.sample_ids()[int(pinned[groups == codes[over][0]][0])]
        raise TaskError(
            f"{counts[over][0]:,} pinned samples have the {cap.word} of {first!r} and the cap per "
            f"{cap.word} is {cap.most:,}. Raise the cap or remove pins."
        )


def _copies(catalog: Catalog) -> np.ndarray:
    """(n_samples,) row of the first sample with the very same text; -1 where there is no other."""
    # The hash only narrows the search: texts are compared in full, and few are carried along.
    return _codes(
        catalog,
        "SELECT row, min(row) OVER (PARTITION BY prompt, completion) AS code FROM samples"
        " WHERE hash(prompt, completion) IN"
        " (SELECT hash(prompt, completion) FROM samples GROUP BY 1 HAVING count(*) > 1)",
    )


def _clusters(catalog: Catalog) -> list[np.ndarray]:
    """Codes (n_samples,) of the duplicate clusters, one array for every basis they rest on."""
    bases = catalog.query("SELECT DISTINCT basis FROM clusters ORDER BY basis")["basis"]
    if bases.is_empty():
        raise TaskError(
            "there is a cap per cluster and this store has no clusters of near-duplicates: its "
            "table clusters is empty. Leave the cap out, or take one of each exact duplicate."
        )
    table = "SELECT row, cluster AS code FROM clusters JOIN samples USING (sample_id)"
    return [_codes(catalog, f"{table} WHERE basis = $1", basis) for basis in bases]


def _codes(catalog: Catalog, sql: str, *params: str) -> np.ndarray:
    """Groups (n_samples,) from a query for row and code; -1 where it says nothing."""
    found: pl.DataFrame = catalog.query(sql, params)
    groups = np.full(catalog.store.n_samples, -1, np.int64)
    groups[found["row"].to_numpy()] = found["code"].to_numpy()
    return groups

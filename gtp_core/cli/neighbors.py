"""The commands `neighbors` and `duplicates`."""

import argparse
import time
from contextlib import closing
from typing import Any

import numpy as np
import polars as pl

from gtp_core.catalog import Catalog
from gtp_core.cli.common import Answer, open_store_of, report_progress, store_argument
from gtp_core.errors import CatalogError
from gtp_core.jobs import as_job
from gtp_core.neighbors import (
    BASES,
    RULES,
    THRESHOLDS,
    cluster_use,
    counted,
    crossing,
    duplicates,
    guarantee,
    guarantee_sentences,
    ledger,
    prepare_map,
    prepare_neighbors,
    rule_scores,
    save_clusters,
    saved_neighbors,
)
from gtp_core.store import Progress

GRAPH_JOB = "neighbors"
"""The name under which the app starts `neighbors`."""


def neighbors_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of `neighbors`."""
    store_argument(verb)
    verb.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the projection and the search (default: %(default)s); the pages and `duplicates` "
        "read the graph of seed 0 only, any other is kept beside it, to be compared",
    )
    verb.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="SOURCE",
        help="make a map as well: trajectory, text or the name of a checkpoint; several",
    )


def neighbors(options: argparse.Namespace) -> Answer:
    """Build the graph, or say that it is there."""
    start = time.perf_counter()
    found: dict[str, Any] = {}

    def work(progress: Progress) -> None:
        with closing(open_store_of(options)) as catalog:
            known = prepare_neighbors(catalog, seed=options.seed, progress=progress)
            found.update(known.manifest, folder=str(known.folder), maps=options.map)
            for source in options.map:
                prepare_map(catalog, source, seed=options.seed, progress=progress)

    as_job(work, report_progress)
    found["seconds"] = round(time.perf_counter() - start, 2)
    pairs = ", ".join(f"{count:,} {basis}" for basis, count in found["pairs"].items())
    maps = [f"map of {source} made" for source in options.map]
    return found, [
        f"{found['n_points']:,} different trajectories of {found['n_samples']:,} samples",
        f"pairs that are alike: {pairs}",
        *maps,
        f"kept in {found['folder']} ({found['seconds']:.1f} s)",
    ]


def duplicates_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of `duplicates`."""
    store_argument(verb)
    verb.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLDS["gradient"],
        help="cosine of trajectories from which samples are duplicates (default: %(default)s)",
    )
    verb.add_argument(
        "--text-threshold",
        type=float,
        default=THRESHOLDS["near-text"],
        help="Jaccard similarity of texts from which they are (default: %(default)s)",
    )
    words = "; ".join(f"{name}: {text}" for name, text in BASES.items())
    verb.add_argument(
        "--basis", action="append", metavar="BASIS", help=f"{words} (default: all; several)"
    )
    rules = "; ".join(f"{name}: {text}" for name, text in RULES.items())
    verb.add_argument(
        "--keep", help=f"who is kept, {rules} (default: weight with --run, else longest)"
    )
    verb.add_argument("--run", metavar="RUN", dest="run_id", help="run whose weights decide")
    verb.add_argument(
        "--source", action="append", default=[], help="sources for --keep source, best first"
    )
    verb.add_argument(
        "--split-chains",
        action="store_true",
        help="split groups in which two members are not alike themselves; those of more than 2,000 "
        "different members stay whole",
    )


def find_duplicates(options: argparse.Namespace) -> Answer:
    """Find clusters and keepers, and save them."""
    with closing(open_store_of(options)) as catalog:
        known = saved_neighbors(catalog) or prepare_neighbors(catalog, progress=report_progress)
        rule = options.keep or ("weight" if options.run_id else "longest")
        support, scores = _scores(catalog, options, rule)
        every = {"near-text": options.text_threshold, "gradient": options.threshold}
        asked = {basis: every.get(basis, 1.0) for basis in options.basis or BASES}
        decision = duplicates(
            catalog, known, asked, scores, rule=rule, chains=options.split_chains, beside=every
        )
        save_clusters(catalog, decision)
        good, gone = guarantee(decision)
        table = counted(decision)
        answer: dict[str, Any] = {
            "bases": table.to_dicts(),
            "twins": crossing(decision).to_dicts(),
            "rule": rule,
            "dropped": ledger(catalog, decision).to_dicts(),
            "kept": int(decision.stays.sum()),
            "partly": decision.partly,
            "unmet": decision.unmet,
        }
        if support is not None:
            answer["taken"] = {
                basis: cluster_use(groups, {options.run_id: support}).to_dicts()[0]
                for basis, groups in decision.groups.items()
            }
    lines = [
        f"{row['basis']} from {row['threshold']:g}: {row['groups']:,} groups of "
        f"{row['samples']:,} samples, {row['chains']:,} with a chain; {row['dropped']:,} dropped"
        for row in answer["bases"]
    ]
    lines.append(
        f"{gone:,} samples go and {answer['kept']:,} stay; "
        f"{good:,} of {gone:,} have a kept sample that matches them"
    )
    lines.append(guarantee_sentences(decision))
    lines.append("saved: tables clusters and dropped")
    lines.append('leave them out: --where "sample_id NOT IN (SELECT sample_id FROM dropped)"')
    return answer, lines


def _scores(
    catalog: Catalog, options: argparse.Namespace, rule: str
) -> tuple[np.ndarray | None, np.ndarray]:
    """What a run chose, if one is named, and the scores of the rule."""
    if options.run_id is None:
        if rule in ("weight", "gain", "influence"):
            raise CatalogError(f"--keep {rule} needs a run. Name one with --run.")
        return None, rule_scores(catalog, rule, sources=options.source)
    _, tables = catalog.read_run(options.run_id)
    chosen = tables["selection"]
    weights = np.zeros(catalog.store.n_samples)
    weights[chosen["row"].to_numpy()] = chosen["weight"].to_numpy()
    verdicts = tables["verdicts"]
    known = {"influence": verdicts["influence"].to_numpy()}
    if "gain" in verdicts.columns:  # runs saved by older versions have none
        known["gain"] = verdicts["gain"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    scores = rule_scores(catalog, rule, weights=weights, sources=options.source, **known)
    return chosen["row"].to_numpy(), scores

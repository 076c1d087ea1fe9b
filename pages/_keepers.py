"""What is asked about duplicates: bases, thresholds, the rule, and the decision made of it."""

import hashlib
from dataclasses import dataclass
from typing import Any

import streamlit as st

from gtp_core.catalog import Catalog
from gtp_core.errors import GTPError
from gtp_core.neighbors import (
    RULES,
    THRESHOLDS,
    Decision,
    Neighbors,
    duplicates,
    rows_alike,
    rule_change,
    rules_without,
    selection_scores,
    threshold_steps,
)
from gtp_core.report.standins import Weighed, gains_of, weigh
from pages import _address, _frame
from pages._view import View, digest_of, key_of

_DROPS = {
    "any": ("text", "near-text", "gradient"),
    "texts": ("text", "near-text"),
    "gradient": ("gradient",),
}
_EDITS = ("keeper", "split", "pin", "ban", "free")


@dataclass(frozen=True)
class Asked:
    """What the controls say, and by what a cached answer about it is known.

    Attributes:
        thresholds: basis and threshold of every basis.
        drops: the bases for which a sample goes.
        sources: best first, for the rule `source`.
        chains: whether every chain is split.
        edits: numbers of those in force that say something about duplicates.
        key: of the selection.
    """

    thresholds: tuple[tuple[str, float], ...]
    drops: tuple[str, ...]
    sources: tuple[str, ...]
    chains: bool
    edits: tuple[int, ...]
    key: str


def decided(view: View, known: Neighbors) -> tuple[Decision, str]:
    """What the controls ask for, the decision that follows, and the key of what follows from it."""
    first, second, third, last = st.columns([3, 3, 3, 3], vertical_alignment="bottom")
    words = {"any": "any likeness", "texts": "texts", "gradient": "gradients"}
    drops = _frame.choice("A sample goes for its", list(_DROPS), "drops", place=first, words=words)
    thresholds = {"text": 1.0}
    for basis, place, label in (
        ("near-text", second, "Near text from (Jaccard)"),
        ("gradient", third, "Near gradient from (cosine)"),
    ):
        steps = threshold_steps(known.likenesses[basis])
        key, wanted = f"at-{basis}", THRESHOLDS[basis]
        _address.seed(key, steps, wanted if wanted in steps else steps[0])
        thresholds[basis] = float(place.select_slider(label, steps, key=key))
    left, right = st.columns([4, 8], vertical_alignment="center")
    rule, other = _rules(view.catalog, last, right)
    chains = left.toggle(
        "Split every chain",
        key="chains",
        help="A~B~C where C is not like A: take such groups apart until all members are alike. "
        "Groups of more than 2,000 different members stay whole.",
    )
    asked = Asked(
        tuple(thresholds.items()),
        _DROPS[drops],
        _sources(view.catalog) if "source" in (rule, other) else (),
        chains,
        tuple(one.edit for one in view.catalog.edits() if one.what in _EDITS),
        _selection_key(view),
    )
    decision: Decision = _decision(view, known, asked, rule)
    if other != rule:
        _preview(decision, _decision(view, known, asked, other))
    return decision, repr((asked, rule))


def _rules(catalog: Catalog, place: Any, note: Any) -> tuple[str, str]:
    """The rule in force, and the one that is asked for but not applied yet."""
    without = _without(catalog, digest_of(catalog))
    names = [name for name in RULES if name not in without]
    state = st.session_state
    _address.seed("keep", names, names[0])
    if state.get("_keep") != state["keep"] or state.get("keep-next") not in names:
        state["keep-next"] = state["_keep"] = state["keep"]
    about = [f"{name}: {RULES[name]}" for name in names]
    about += [f"{name} is not available: {why}" for name, why in without.items()]
    other = place.selectbox("Keep", names, key="keep-next", help=" · ".join(about))
    if without:
        told = "; ".join(f"{name} ({why})" for name, why in without.items())
        note.caption(f"Rules that are not available here: {told}.")
    return str(state["keep"]), str(other)


@st.cache_data(max_entries=8, show_spinner=False)
def _without(_catalog: Catalog, digest: str) -> dict[str, str]:
    return rules_without(_catalog)


def _sources(catalog: Catalog) -> tuple[str, ...]:
    names = catalog.sources()
    picked = st.multiselect("Sources, best first", names, key="keep-sources")
    return tuple(picked) or (names[0],)


def _preview(decision: Decision, other: Decision) -> None:
    """What another rule would change, before it does."""
    said, apply, back = st.columns([8, 2, 2], vertical_alignment="center")
    said.info(_frame.plain(rule_change(decision, other)), icon=":material/compare_arrows:")
    apply.button(
        "Apply the rule",
        key="apply-rule",
        type="primary",
        width="stretch",
        on_click=_set,
        args=("keep", other.rule),
    )
    back.button(
        f"Stay with {decision.rule}",
        key="keep-rule",
        width="stretch",
        on_click=_set,
        args=("keep-next", decision.rule),
    )


def _set(key: str, value: str) -> None:
    st.session_state[key] = value


def _selection_key(view: View) -> str:
    """Another one for every selection, also where an estimate gives way to the exact one."""
    found = view.select("gtp")
    told = hashlib.sha256(found.support.tobytes() + found.weights.tobytes()).hexdigest()[:16]
    return f"{key_of(view)}-{told}"


@st.cache_resource(max_entries=32, show_spinner="Deciding who is kept")
def _decision(_view: View, _known: Neighbors, asked: Asked, rule: str) -> Decision:
    beside = dict(asked.thresholds)
    thresholds = {basis: beside[basis] for basis in asked.drops}
    gain = None
    if rule == "gain":
        gain = gains_of(_weigh(_view, asked.key), rows_alike(_known, thresholds))
    gtp = _view.select("gtp")
    scores = selection_scores(_view.catalog, _view.problem, gtp, rule, asked.sources, gain)
    return duplicates(
        _view.catalog, _known, thresholds, scores, rule=rule, chains=asked.chains, beside=beside
    )


def weighed(view: View) -> Weighed | str:
    """GTP's selection, ready for questions about duplicates; or in one sentence why not."""
    try:
        found: Weighed = _weigh(view, _selection_key(view))
        return found
    except GTPError as error:
        return str(error)


@st.cache_resource(max_entries=8, show_spinner="Weighing the chosen samples")
def _weigh(_view: View, key: str) -> Weighed:
    return weigh(_view.catalog, _view.problem, _view.select("gtp"))

"""Its part for what came out: sentences, learning curves, bars, a table, and what foretold it."""

from typing import Any

import streamlit as st

from gtp_core.figures.verify import bars_figure, curves_figure, foretold_figure
from gtp_core.verify import (
    JUDGES,
    LEAST,
    Kept,
    Wish,
    answer,
    curves,
    judged,
    names_of,
    remarks,
    shown_table,
    subsets_in,
    verifications,
)
from pages import _frame, _trials


def results(view: _frame.View, wish: Wish, kept: Kept | None) -> None:
    """What is kept; while models are being trained, it is looked at again every few seconds."""
    running = _trials.running(view)
    if kept is None and not running:
        st.info(
            "Nothing was trained for this task yet. Each subset will fine-tune the model from "
            "where the store's own training began; then the test loss of each is compared, with "
            "the noise over seeds and over test examples.",
            icon=":material/school:",
        )
        return
    shown = st.fragment(_latest, run_every=3.0) if running else _latest
    shown(view, wish, kept.key if kept else "")


def _latest(view: _frame.View, wish: Wish, key: str) -> None:
    known = verifications(view.catalog, view.task)
    found = next((one for one in known if one.key == key), None)
    if found is None or (_trials.running(view) and wish.to_do(view.catalog.store, found)):
        found = known[0] if known else None
    if found is None:
        st.caption("The first model is not trained yet.")
        return
    _show(view, found, wish)


def _show(view: _frame.View, kept: Kept, wish: Wish) -> None:
    trials, there = kept.trials, subsets_in(kept.trials)
    arms = [arm for arm in wish.arms if arm in there]
    arms = arms if len(arms) > 1 else there
    names = names_of(trials)
    kinds = {trial["arm"]: str(trial.get("method") or "") for trial in trials}
    methods = {names[arm]: kinds[arm] for arm in arms}
    settings = kept.plan["settings"]
    found = answer(trials, arms, settings, names=names)
    _words(kept, found, remarks(trials, arms, settings, names=names))
    left, right = st.columns(2)
    with left:
        lines = curves(trials, arms, names=names)
        _frame.show(curves_figure(lines, methods, view.theme), "learning")
    with right:
        for measure in ("test_loss", "exact_match"):
            if any(row[measure] is not None for row in found["table"]):
                picture = bars_figure(found["table"], measure, methods, view.theme)
                _frame.show(picture, f"bars-{measure}")
    _table(found)
    _foretold(view, kept, found, names, {names[arm]: kinds[arm] for arm in there})


def _words(kept: Kept, found: dict[str, Any], remarks: list[str]) -> None:
    """How it was trained, whether differences are larger than the noise, and what to know."""
    how, *notes = kept.told
    st.markdown(f"**{_frame.plain(how)}**")
    sentences = found["sentences"]
    if sentences:
        st.markdown("\n".join(f"- {_frame.plain(text)}" for text in sentences))
    else:
        st.caption("Two trained subsets make a comparison; there are not two yet.")
    for note in [*remarks, *notes]:
        st.info(_frame.plain(note), icon=":material/info:")


def _table(found: dict[str, Any]) -> None:
    number = st.column_config.NumberColumn
    loss = {f"test loss{end}": number(format="%.4f") for end in ("", " from", " to")}
    match = {f"exact match{end}": number(format="%.1f %%") for end in ("", " from", " to")}
    _frame.table(shown_table(found["table"]), "trained", column_config={**loss, **match})
    st.caption("From and to are the ends of 95 % intervals over seeds.")


def _foretold(
    view: _frame.View,
    kept: Kept,
    found: dict[str, Any],
    names: dict[str, str],
    methods: dict[str, str],
) -> None:
    """Whether what a selection is judged by goes along with the loss it trains to."""
    st.subheader("Was it foretold?", anchor=False)
    table = judged(kept.trials, kept.plan["settings"])
    if not found["correlations"]:
        st.caption(
            f"From {LEAST} subsets on, this relates held-out match and residuals to the test "
            f"loss; here are {table['arm'].n_unique():,}. Train on more budgets or methods: save "
            "them as runs, and add them above."
        )
        return
    st.markdown("\n".join(f"- {_frame.plain(t)}" for t in found["correlation_sentences"]))
    judge = _frame.choice(
        "Against", ["match", *[j for j in JUDGES if j != "match"]], "judge", words=JUDGES
    )
    _frame.show(
        foretold_figure(table, judge, JUDGES[judge], names, methods, view.theme), "foretold"
    )

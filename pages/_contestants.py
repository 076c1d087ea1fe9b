"""Its part for saying who is compared: methods, saved runs, and a list of the visitor's own."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from gtp_core.atoms import Problem
from gtp_core.figures import word
from gtp_core.methods import METHODS, Settings
from gtp_core.pursuit import Selection
from gtp_core.report import (
    MOST_COMPARED,
    Contestant,
    cheap_to_refit,
    contestant,
    from_run,
    given,
    ids_of,
    named,
    only,
    overlap,
    save,
    split_matches,
)
from pages import _address, _frame
from pages._view import key_of

NOBODY, LIST = "nobody", "your list"
_FIRST = ("gtp", "top-k", NOBODY, NOBODY)
_LETTERS = "abcd"
BY = {
    "residual_weighted": "residual, weighted",
    "residual_as_trained": "residual, as trained",
    "cosine": "cosine",
}


def picked(view: _frame.View) -> list[Contestant]:
    """Ask who is compared, and judge everyone by the current task."""
    content = _list_of_yours(view)
    runs = view.catalog.list_runs()
    options = [*METHODS, *runs, *([LIST] if content.strip() else []), NOBODY]
    asked = []
    places = st.columns(MOST_COMPARED)
    for letter, default, place in zip(_LETTERS, _FIRST, places, strict=True):
        # The first two are always there: one selection alone is no comparison.
        some = options if default == NOBODY else options[:-1]
        asked.append((letter, *_asked(place, letter, some, default)))
    wanted = [one for one in asked if one[1] != NOBODY]
    with _frame.one_sentence():
        # After LIST is asked for, its ids are read: a bad list is no error while nobody wants it.
        ids = tuple(ids_of(content, "the list")) if LIST in {who for _, who, _ in wanted} else ()
        names = named([_name(*one) for one in wanted])
        pairs = zip(wanted, names, strict=True)
        return [_judged(view, who, budget, name, ids) for (_, who, budget), name in pairs]


def _asked(
    place: Any,
    letter: str,
    options: list[str],
    default: str,
) -> tuple[str, str]:
    """Who takes part under a letter, and at which budget; "" for the current one."""
    _address.seed(letter, options, default)
    who = place.selectbox(
        letter.upper(),
        options,
        key=letter,
        format_func=lambda one: word(one) if one in METHODS else one,
        help="A method, a saved run (of any task), or a list of yours.",
    )
    _address.seed(f"{letter}_budget", None, "")
    typed = place.text_input(
        f"Budget of {letter.upper()}",
        key=f"{letter}_budget",
        placeholder="as above",
        disabled=who not in METHODS,
        help="Another budget than above: samples (500), percent (5%) or tokens (200000tok).",
    )
    return who, typed.strip() if who in METHODS else ""


def _list_of_yours(view: _frame.View) -> bytes:
    """A list, pasted or as a file; it can be saved as a run, so that a link leads to it."""
    with st.expander("Compare a list of yours", icon=":material/playlist_add:"):
        left, right = st.columns(2)
        pasted = left.text_area(
            "Sample ids",
            key="compare-ids",
            height=120,
            help="One id a line, JSON lines with sample_id, or a receipt.",
        )
        uploaded = right.file_uploader("or a file of them", key="compare-file", max_upload_size=50)
        content = uploaded.getvalue() if uploaded else pasted.encode("utf-8", "replace")
        if content.strip() and right.button("Save the list as a run", icon=":material/save:"):
            with _frame.one_sentence():
                listed = given(view.catalog, view.problem, ids_of(content, "the list"))
                run = save(view.catalog, view.problem, listed, None)["run"]
            right.caption(_frame.plain(f"Saved as {run}; choose it below."))
        elif content.strip():
            right.caption("Choose “your list” below to compare it.")
    return content


def _name(letter: str, who: str, budget: str) -> str:
    """Short enough for a legend: the id of a run stands under its letter."""
    if who in METHODS:
        return f"{word(who)} at {budget}" if budget else word(who)
    return who if who == LIST else f"run {letter.upper()}"


def _judged(
    view: _frame.View, who: str, budget: str, name: str, ids: tuple[str, ...]
) -> Contestant:
    """One of them, judged once for as long as nothing it depends on changes."""
    if who == LIST:
        return _of_list(view, ids, name, key_of(view))
    if who in METHODS:
        there = replace(view, budget=budget, tuned=None) if budget else view
        there.exactly(who)  # of a large pool a job makes it, which nothing cached could wait for
        return _of_method(there, who, there.budget, view.settings, name, key_of(view))
    return _of_run(view, who, name, key_of(view))


# Few of them: each holds a verdict for every sample of the pool, 8 MB of 150,000.
@st.cache_resource(max_entries=8, show_spinner="Looking at every sample")
def _of_method(
    _view: _frame.View, method: str, budget: str, settings: Settings, name: str, key: str
) -> Contestant:
    # Solved exactly, whatever estimate the slider shows: differences of estimates say nothing.
    selection, held = _view.exactly(method)
    return contestant(_view.catalog, _view.problem, selection, name=name, held=held, refit=False)


@st.cache_resource(max_entries=8, show_spinner="Reading the run")
def _of_run(_view: _frame.View, run_id: str, name: str, key: str) -> Contestant:
    return from_run(_view.catalog, _view.problem, run_id, name=name, refit=False)


@st.cache_resource(max_entries=4, show_spinner="Looking at every sample")
def _of_list(_view: _frame.View, ids: tuple[str, ...], name: str, key: str) -> Contestant:
    listed = given(_view.catalog, _view.problem, ids)
    return contestant(_view.catalog, _view.problem, listed, name=name)


def say(place: Any, sentences: list[str]) -> None:
    """The comparison in words; names in it may hold anything."""
    place.markdown("\n".join(f"- {_frame.plain(sentence)}" for sentence in sentences))


def with_spreads(
    view: _frame.View, found: list[Contestant], *, known: bool = False
) -> list[Contestant]:
    """The same with their matches at every split, which takes fits: once each, and where cheap.

    With `known`, only those that this visitor has waited for already.
    """
    waited = st.session_state.setdefault("_spreads", set())
    answer = []
    for one in found:
        key = (key_of(view), str(sorted(one.selection.settings.items(), key=str)))
        if one.matches is None and (not known or key in waited):
            one = replace(one, matches=_fitted_anew(view.problem, one.selection, *key))
            waited.add(key)
        answer.append(one)
    return answer


def wait_for_spreads(view: _frame.View, found: list[Contestant]) -> bool:
    """Whether to fit anew for the spread: where that is cheap, or when the visitor asks for it."""
    if cheap_to_refit(view.problem):
        return True
    if not view.problem.splits or all(one.matches is not None for one in found):
        return False
    return st.button(
        "Measure the spread over the splits",
        help="Fits every method anew on parts of the examples; takes minutes on a large store.",
        icon=":material/play_arrow:",
    )


@st.cache_resource(max_entries=64, show_spinner=False)
def _fitted_anew(_problem: Problem, _selection: Selection, key: str, settings: str) -> Any:
    return split_matches(_problem, _selection, refit=True)


def why_address(sample_id: str) -> str:
    """The Why page of a sample, with everything else that is set; it opens in a tab of its own."""
    own = {*_LETTERS, *(f"{letter}_budget" for letter in _LETTERS), "given", "by"}
    kept = {key: text for key, text in st.query_params.to_dict().items() if key not in own}
    return f"why?{urlencode({**kept, 'id': sample_id})}"


def show_only(view: _frame.View, one: Contestant, other: Contestant, key: str) -> None:
    """What one of two has and the other has not, each row with the other's reason."""
    table = only(view.catalog, view.problem, one, other, address=why_address)
    n_samples = overlap(one.support, other.support)["only_a"]
    st.subheader(_frame.plain(f"Only {one.name}: {n_samples:,} samples"), anchor=False)
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    _frame.table(
        table,
        key,
        height=360,
        column_config={
            "why": st.column_config.LinkColumn("why", display_text="Why?", width="small"),
            "rank": number("rank", width="small"),
            "sample_id": text("sample"),
            "weight": number("weight", format="%.4f"),
            "verdict": text(f"verdict of {other.name}"),
            "reason": text(f"why {other.name} has it not", width="large"),
            "covered": number("covered", format="percent"),
            "gain": number("conditional gain", format="%.5f"),
            "influence": number("influence", format="%.4f", help="What top-k ranks by (LESS)."),
            "topk_rank": number("top-k rank", format="localized"),
            "n_tokens": number("tokens"),
            "prompt": text("prompt", width="large"),
            "completion": text("completion", width="medium"),
        },
    )
    st.caption(f"{table.height:,} rows shown, strongest first. Long texts are cut.")

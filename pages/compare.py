"""How do these choices differ?"""

import streamlit as st

from gtp_core.figures import (
    CHECKPOINT_COLUMNS,
    by_checkpoint_figure,
    hero_figure,
    likeness_figure,
    ranks_figure,
    sources_figure,
    styles,
    upset_figure,
)
from gtp_core.report import (
    by_checkpoint,
    doubt,
    exclusive,
    five_sentences,
    gains,
    likeness_table,
    ranks,
    scores,
    source_mix,
)
from pages import _contestants, _frame, _start

_start.require("compare")
view = _frame.header()
found = _contestants.with_spreads(view, _contestants.picked(view), known=True)
a, b = found[:2]
names, pair = [one.name for one in found], (a.name, b.name)
styled = styles(names, [one.selection.method for one in found])

if text := doubt(view.reliability):
    st.warning(_frame.plain(text), icon=":material/warning:")
for one in found:
    if one.note:
        st.info(_frame.plain(one.note), icon=":material/info:")
sentences = st.empty()
_contestants.say(sentences, five_sentences(view.catalog, view.problem, found))
waits = _contestants.wait_for_spreads(view, found)

words = {letter: _frame.plain(name) for letter, name in zip("ab", pair, strict=True)}
given = _frame.choice("Conditional gain given", ["a", "b"], "given", words=words)
with _frame.one_sentence():
    picks = gains(view.catalog, view.problem, a, b, given=a if given == "a" else b)
_frame.show(hero_figure(picks, pair, view.theme), "hero")
_frame.table(scores(found), "scores")

left, right = st.columns(2)
with left:
    _frame.show(upset_figure(exclusive(found), styled, view.theme), "upset")
with right:
    alike = {one.name: (one.likeness.n_alike, len(one.likeness.places)) for one in found}
    _frame.show(likeness_figure(likeness_table(found), alike, styled, view.theme), "likeness")
left, right = st.columns(2)
with left:
    mix = source_mix(view.catalog, {one.name: one.support for one in found})
    _frame.show(sources_figure(mix, styled, view.theme), "sources-apart")
with right:
    by = _frame.choice("By checkpoint", list(CHECKPOINT_COLUMNS), "by", words=_contestants.BY)
    table = by_checkpoint(view.catalog, view.problem, found)
    _frame.show(by_checkpoint_figure(table, styled, view.theme, column=by), "by-checkpoint")
left, right = st.columns(2, vertical_alignment="center")
with left:
    _frame.show(ranks_figure(ranks(view.problem, a, b), pair, view.theme), "ranks")
right.caption(
    "The whole pool in two orders; the darker, the more samples. Top-k's order is by influence. "
    "Any other has its own samples first, strongest first, then the rest by what each would still "
    "add to it."
)

_contestants.show_only(view, a, b, "only-a")
_contestants.show_only(view, b, a, "only-b")

# Last, because it fits every method anew on parts of the examples: the page is there meanwhile.
found = _contestants.with_spreads(view, found, known=not waits)
_contestants.say(sentences, five_sentences(view.catalog, view.problem, found))
_frame.link("verify", "Do they train a better model?", icon=":material/school:")

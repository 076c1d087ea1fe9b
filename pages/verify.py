"""Do the chosen samples train a better model?"""

import streamlit as st

from pages import _frame, _start, _trials, _trials_shown

_start.require("verify")
view = _frame.header()

with _frame.one_sentence():
    wish = _trials.asked(view)
    kept = _trials.kept(view, wish)
_trials.start(view, wish, kept)
_trials_shown.results(view, wish, kept)

st.caption(
    "What is measured here is one model, one pool and one task. The tables `trials` and "
    "`trial_curves` have every number: ask them on the page Store."
)
_frame.link("compare", "How do these choices differ?", icon=":material/compare_arrows:")
_frame.link("export", "Take the file", icon=":material/download:")

"""What changes if I move the budget?"""

import streamlit as st

from gtp_core.figures import (
    held_out_figure,
    overlap_figure,
    residual_figure,
    rounds_figure,
    source_figure,
)
from gtp_core.report import (
    beside,
    chosen_table,
    enough,
    fill_sentence,
    given,
    ids_of,
    overlap,
    rounds_table,
    save,
    source_mix,
)
from pages import _frame, _start

_start.require("budget_lab")
view = _frame.header()

with _frame.one_sentence():
    gtp, topk = view.select("gtp"), view.select("top-k")
    path = view.path()

WORDS = {
    "residual_weighted": "with GTP's weights",
    "residual_as_trained": "as trained, unweighted",
}
column = _frame.choice("Residual", list(WORDS), "residual", words=WORDS)
st.caption(f"{gtp.stop} {fill_sentence(gtp)}")

places = st.columns(4)
for place, (name, selection) in zip(places, {"GTP": gtp, "top-k": topk}.items(), strict=False):
    place.metric(f"{name} residual", f"{getattr(selection, column):.3f}", border=True)
for place, name in zip(places[2:], ("gtp", "top-k"), strict=True):
    held = view.held_out(name)
    place.metric(
        f"{'GTP' if name == 'gtp' else name} held-out match",
        f"{held.match:.3f}" if held else "not known",
        delta=f"ceiling {held.ceiling:.3f}" if held else None,
        delta_color="off",
        delta_arrow="off",
        border=True,
    )

if path is not None:
    left, right = st.columns(2)
    with left:
        floor = view.reliability.noise_floor if view.reliability else None
        _frame.show(
            residual_figure(
                path, view.theme, budget=len(gtp.support), column=column, noise_floor=floor
            ),
            "residual-by-budget",
        )
    with right:
        _frame.show(
            held_out_figure(path, view.theme, budget=len(gtp.support), stop=enough(path)),
            "held-out-by-budget",
        )

left, right = st.columns(2)
with left:
    _frame.show(rounds_figure(rounds_table(gtp), view.theme), "rounds")
with right:
    _frame.show(overlap_figure(overlap(gtp.support, topk.support), view.theme), "overlap-here")
    mix = source_mix(view.catalog, {"gtp": gtp.support, "top-k": topk.support})
    _frame.show(source_figure(mix, view.theme), "sources")

method = _frame.choice(
    "Chosen samples", ["gtp", "top-k"], "list", words={"gtp": "GTP", "top-k": "top-k"}
)
_frame.samples(chosen_table(view.catalog, view.problem, view.select(method)), "chosen")

st.subheader("Compare a list of yours", anchor=False)
left, right = st.columns(2)
pasted = left.text_area(
    "Sample ids",
    key="ids",
    height=120,
    help="One id a line, JSON lines with sample_id, or a receipt.",
)
uploaded = right.file_uploader("or a file of them", key="ids-file", max_upload_size=50)
content = uploaded.getvalue() if uploaded else pasted.encode("utf-8", "replace")
if content.strip():
    with _frame.one_sentence():
        ids = ids_of(content, "your file" if uploaded else "the list")
        listed = given(view.catalog, view.problem, ids)
        matches = {
            name: view.held_out(method) for name, method in (("GTP", "gtp"), ("top-k", "top-k"))
        }
        _frame.table(beside(view.problem, listed, {"GTP": gtp, "top-k": topk}, matches), "beside")
        st.caption(
            "All samples of your list count the same. Its match is with halves of the validation "
            "examples, and held out only if the list was made without looking at them."
        )
        if st.button("Save the list as a run", icon=":material/save:"):
            st.caption(
                _frame.plain(f"Saved as {save(view.catalog, view.problem, listed, None)['run']}.")
            )

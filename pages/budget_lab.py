"""What changes if I move the budget?"""

from typing import Any

import streamlit as st

from gtp_core.figures import (
    held_out_figure,
    overlap_figure,
    residual_figure,
    rounds_figure,
    source_figure,
)
from gtp_core.report import (
    chosen_table,
    enough,
    fill_sentence,
    overlap,
    rounds_table,
    source_mix,
)
from pages import _frame, _list, _start
from pages._curves import along_budgets

_start.require("budget_lab")
view = _frame.header()

with _frame.one_sentence():
    gtp, topk = view.select("gtp"), view.select("top-k")

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


def draw_curves(path: Any, left: Any, right: Any) -> None:
    """Residual and held-out match along the budgets."""
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


finish = along_budgets(view, draw_curves)

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

_list.compare(view, {"GTP": gtp, "top-k": topk})

finish()

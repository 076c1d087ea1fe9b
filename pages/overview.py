"""Is this selection good, and when do more samples stop helping?"""

from typing import Any

import streamlit as st

from gtp_core.catalog import Filter, spell_filters
from gtp_core.figures import (
    checkpoint_figure,
    held_out_figure,
    overlap_figure,
    residual_figure,
)
from gtp_core.report import (
    answer,
    checkpoint_match,
    drift,
    enough,
    findings,
    highlights,
    overlap,
    warnings,
)
from pages import _frame, _start
from pages._curves import along_budgets

_start.require("overview")
view = _frame.header()

with _frame.one_sentence():
    gtp, topk = view.select("gtp"), view.select("top-k")
    held = {"gtp": view.held_out("gtp"), "top-k": view.held_out("top-k")}

st.markdown(_frame.plain(answer({"gtp": gtp, "top-k": topk}, held)))
for text in [*warnings(gtp, held, view.reliability), *drift(view.catalog, gtp, topk)]:
    st.warning(_frame.plain(text), icon=":material/warning:")

for place, (name, value, against, about) in zip(
    st.columns(5), findings(view.catalog, {"gtp": gtp, "top-k": topk}, held), strict=True
):
    place.metric(name, value, border=True, help=about)
    place.caption(against)


def draw_curves(path: Any, left: Any, right: Any) -> None:
    """Residual and held-out match along the budgets."""
    with left:
        stop = enough(path)
        _frame.show(
            held_out_figure(path, view.theme, budget=len(gtp.support), stop=stop), "held-out"
        )
    with right:
        floor = view.reliability.noise_floor if view.reliability else None
        _frame.show(
            residual_figure(path, view.theme, budget=len(gtp.support), noise_floor=floor),
            "residual",
        )


finish = along_budgets(view, draw_curves)

left, right = st.columns(2)
with left:
    _frame.show(overlap_figure(overlap(gtp.support, topk.support), view.theme), "overlap")
    st.subheader("Worth a look", anchor=False)
    for what, name, detail in highlights(view.catalog, view.problem, gtp, topk).rows():
        sample = f" {name}:" if name else ":"
        st.markdown(f"**{what}**{_frame.plain(f'{sample} {detail}')}")
        if name:
            _frame.link("why", f"Why {name}?", id=name)
    _frame.link("samples", "All chosen samples", f=spell_filters([Filter("verdict", "chosen")]))
    _frame.link("verify", "Does it train a better model?", icon=":material/school:")
with right:
    matches = checkpoint_match(view.catalog, view.problem, {"gtp": gtp, "top-k": topk})
    _frame.show(checkpoint_figure(matches, view.theme), "checkpoints")

finish()

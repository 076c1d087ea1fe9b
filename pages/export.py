"""Give me the file, and let me rebuild it."""

import streamlit as st

from gtp_core.export import (
    FORMATS,
    LEDGER,
    ORDERS,
    RECEIPT,
    ledger_bytes,
    ledger_of,
    lists_of,
    receipt_bytes,
    render,
)
from gtp_core.methods import METHODS, label
from gtp_core.report import save
from pages import _frame, _start

_start.require("export")
view = _frame.header()

method = _frame.choice(
    "Selection",
    list(METHODS),
    "export_method",
    about=" · ".join(f"{name}: {label(name)}" for name in METHODS),
)
left, middle, right = st.columns(3, vertical_alignment="bottom")
kind = left.selectbox("Format", [f for f in FORMATS if f != "hf"], key="format")
order = middle.selectbox("Order", ORDERS, key="order")
weights = right.toggle("Add each sample's weight", key="weights")

with _frame.one_sentence():
    selection, held = view.exactly(method)
    n_chosen = len(selection.support)
    st.markdown(
        f"**{n_chosen:,} samples**: {n_chosen - selection.n_filled:,} chosen + "
        f"{selection.n_filled:,} filled, of a budget of {_frame.plain(view.budget)}."
    )
    if st.button("Save run and make files", type="primary", icon=":material/save:"):
        run = save(view.catalog, view.problem, selection, held)
        st.session_state["_run"] = run["run"]
    run_id = view.run_id(selection, held)
    if st.session_state.get("_run") != run_id:
        st.caption("Nothing is written until you save the run.")
        _start.stop()
    export = render(view.catalog, run_id, kind, order=order, weights=weights)

left, right = st.columns(2)
left.download_button(
    f"Download {export.name}",
    export.content,
    file_name=export.name,
    icon=":material/download:",
    on_click="ignore",
    width="stretch",
    key="file",
)
right.download_button(
    "Download the receipt",
    receipt_bytes(export),
    file_name=f"{export.name}{RECEIPT}",
    icon=":material/receipt_long:",
    on_click="ignore",
    width="stretch",
    key="receipt",
)
receipt = export.receipt
st.caption(
    f"{receipt['rows']:,} rows · {receipt['tokens']:,} tokens · {receipt['bytes']:,} bytes · "
    f"SHA-256 {receipt['sha256'][:16]}…"
)
if "dropped" in receipt:
    st.download_button(
        "Download the ledger of dropped duplicates",
        ledger_bytes(ledger_of(view.catalog)),
        file_name=f"{export.name}{LEDGER}",
        icon=":material/content_copy:",
        on_click="ignore",
        key="ledger",
    )
for flag, ids in lists_of(view.catalog, run_id).items():
    st.download_button(
        f"Download the {flag} that the command below reads",
        "".join(f"{one}\n" for one in ids),
        file_name=f"{export.name}.{flag}.txt",
        icon=":material/list:",
        on_click="ignore",
        key=f"list-{flag}",
    )
st.subheader("First three rows", anchor=False)
if kind == "less":
    st.caption("A zip of two files; the JSON lines of the same run show its texts.")
else:
    _frame.preview(export, kind)
st.subheader("Rebuild it from the command line", anchor=False)
st.code(receipt["rebuild"], language="bash", wrap_lines=True)
_frame.link("verify", "Does it train a better model?", icon=":material/school:")

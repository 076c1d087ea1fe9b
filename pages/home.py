"""What is in this store, and can I trust it?"""

import streamlit as st

from gtp_core.catalog import TABLES
from gtp_core.errors import GTPError
from gtp_core.figures import length_figure, norm_figure
from gtp_core.importers import (
    IMPORTERS,
    Plan,
    asked_from,
    import_store,
    label,
    options,
    survey,
    takes_several,
)
from gtp_core.report import checks, length_bias, length_table, norm_table
from pages import _frame, _start

ICONS = {"ok": ":material/check:", "warning": ":material/warning:", "problem": ":material/close:"}

_start.require("home")


def import_form() -> None:
    """A foreign store: look at what is in it, then write it and open it."""
    with st.form("import", border=True):
        left, middle, right = st.columns([1, 2, 2])
        labels = " · ".join(f"{name}: {label(name)}" for name in IMPORTERS)
        kind = left.selectbox("Format", list(IMPORTERS), key="import-format", help=labels)
        source = middle.text_input("Folder of the source, which is only read", key="import-source")
        out = right.text_input("Folder of the store to make", key="import-out")
        with st.expander("What the source does not say", icon=":material/edit_note:"):
            st.caption("Leave the rest empty: what is missing is asked for. Lists: one a line.")
            told = declared()
        looked = st.form_submit_button("Look, and write nothing", icon=":material/visibility:")
    asked = (kind, source, out, told)
    if looked:
        st.session_state["_import"] = asked
    if st.session_state.get("_import") == asked:
        try:
            _write(survey(kind, source, asked_from(told)), out)
        except GTPError as error:  # the rest of the page is about another store and goes on
            st.error(_frame.plain(str(error)), icon=":material/error:")


def declared() -> dict[str, str]:
    """A field for everything that an importer may have to be told; lists have the tall ones."""
    told = {}
    for tall in (False, True):
        columns = st.columns(3)
        names = [name for name in options() if takes_several(name) is tall]
        for at, name in enumerate(names):
            place = columns[at % 3]
            draw = place.text_area if tall else place.text_input
            label = name.replace("_", " ").capitalize()
            told[name] = draw(label, key=f"import-{name}", help=options()[name])
    return told


def _write(plan: Plan, out: str) -> None:
    """What was found, and the button that writes it."""
    st.markdown("\n".join(f"- {_frame.plain(line)}" for line in plan.lines()))
    if not out:
        st.caption("Name the folder of the store to make, and look again, to write it.")
    elif st.button("Write the store", type="primary", icon=":material/save:", key="import-write"):
        bar = st.progress(0.0, text="Importing")

        def report(done: int, total: int, what: str) -> None:
            bar.progress(
                done / total, text=f"Importing: {done:,} of {total:,} {_frame.plain(what)}"
            )

        import_store(plan, out, progress=report)
        del st.session_state["_import"]
        _frame.open_store_at(out)


with st.form("open", border=False):
    left, right = st.columns([5, 1], vertical_alignment="bottom")
    path = left.text_input("Folder of a gradient store", value=_frame.store_path())
    opened = right.form_submit_button("Open", icon=":material/folder_open:", width="stretch")
if opened:
    _frame.open_store_at(path)
_frame.recent_stores()
if st.toggle("Import a store that another tool made", key="import"):
    import_form()

with _frame.one_sentence():
    catalog = _frame.open_current()
    facts = _frame.facts(catalog)

left, right = st.columns([3, 2])
with left:
    st.subheader("Health", anchor=False)
    for check in checks(facts):
        st.markdown(f"{ICONS[check.level]} {_frame.plain(check.text)}")
    _frame.show(norm_figure(norm_table(catalog), _frame.theme()), "norms")
    bias = length_bias(catalog)
    _frame.show(length_figure(length_table(catalog), bias, _frame.theme()), "lengths")
with right:
    st.subheader("Passport", anchor=False)
    st.dataframe(_frame.passport(facts), hide_index=True, key="passport")
    st.subheader("Checkpoints", anchor=False)
    st.dataframe(facts["checkpoints"], hide_index=True, key="checkpoint-table")
    st.subheader("Sources", anchor=False)
    st.dataframe(facts["sources"], hide_index=True, key="source-table", height=240)

st.subheader("Ask the catalog", anchor=False)
with st.form("ask", border=False):
    sql = st.text_area("One SELECT statement", value=_frame.EXAMPLE_SQL, height=100)
    asked = st.form_submit_button("Run", icon=":material/play_arrow:")
with st.expander("Tables", icon=":material/schema:"):
    st.dataframe([{"table": k, "columns": v} for k, v in TABLES.items()], hide_index=True)
if asked:
    with _frame.one_sentence():
        _frame.table(catalog.ask(sql), "answer")

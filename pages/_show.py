"""What pages show: errors, choices, figures, tables and previews; texts are never interpreted."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import streamlit as st

from gtp_core.errors import GTPError
from gtp_core.export import Export
from gtp_core.figures import Picture, Theme
from pages import _address, _start


@contextmanager
def one_sentence() -> Iterator[None]:
    """Show what the user can mend as one sentence, and stop the page there."""
    try:
        yield
    except GTPError as error:
        st.error(plain(str(error)), icon=":material/error:")
        _start.stop()


def plain(text: str) -> str:
    """A text with every Markdown sign disarmed: names and messages may hold anything."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+-.!|<>$:~&" else c for c in text)


def theme() -> Theme:
    """The theme of the visitor's browser."""
    return "dark" if st.context.theme.type == "dark" else "light"


def choice(
    label: str,
    options: Sequence[str],
    key: str,
    *,
    place: Any = st,
    words: Any = None,
    about: str = "",
) -> str:
    """One of a few, side by side; the first unless the address or the visitor says otherwise."""
    _address.seed(key, options, options[0])
    chosen = place.segmented_control(
        label,
        options,
        format_func=(words or {}).get if words else str,
        required=True,
        key=key,
        help=about or None,
    )
    return str(chosen)


def show(picture: Picture, key: str) -> None:
    """A figure with its one-sentence alternative, its numbers as a table and as CSV."""
    st.plotly_chart(
        picture.figure,
        key=key,
        alt=picture.alt,
        config={"displaylogo": False, "displayModeBar": False},
        theme=None,
    )
    with st.expander(
        "As table", icon=":material/table:", key=f"{key}-table", on_change="rerun"
    ) as e:
        if e.open:
            table(picture.table, f"{key}-data")
            st.download_button(
                "CSV",
                data=picture.table.write_csv,
                file_name=f"{key}.csv",
                mime="text/csv",
                key=f"{key}-csv",
                on_click="ignore",
            )


def table(data: Any, key: str, **options: Any) -> None:
    """A table as it is. In Arrow's form, which spares the first view the import of pandas."""
    st.dataframe(data.to_arrow(), hide_index=True, key=key, **options)


def samples(chosen: Any, key: str) -> None:
    """Samples as a table; texts are shown, never interpreted."""
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    table(
        chosen,
        key,
        height=420,
        column_config={
            "rank": number("rank", width="small"),
            "sample_id": text("sample"),
            "weight": st.column_config.ProgressColumn(
                "weight",
                format="%.4f",
                min_value=0.0,
                max_value=float(max(chosen["weight"].max() or 0.0, 1e-9)),
            ),
            "influence": number("influence", format="%.4f", help="What top-k ranks by (LESS)."),
            "topk_rank": number("top-k rank", format="localized"),
            "n_tokens": number("tokens"),
            "prompt": text("prompt", width="large"),
            "completion": text("completion", width="medium"),
        },
    )
    st.caption(f"{chosen.height:,} rows shown, strongest first. Long texts are cut.")


def passport(known: dict[str, Any]) -> list[dict[str, str]]:
    """Who made a store and how, one line each."""
    lines = {
        "store": known["store_id"],
        "samples": f"{known['n_samples']:,}",
        "size": f"{known['bytes'] / 1e6:,.1f} MB, {known['dtype']}",
        "model": str(known["model"].get("id", "not said")),
        "adapter": str(known["model"].get("adapter", "not said")),
        "gradients": "{samples} (samples), {tasks} (tasks)".format_map(known["gradients"]),
        "projection": _projection(known["projection"]),
        "producer": " ".join(
            str(known["producer"][word])
            for word in ("name", "version")
            if known["producer"].get(word) is not None
        ),
    }
    return [{"": name, "value": value} for name, value in lines.items()]


def _projection(known: dict[str, Any]) -> str:
    """From how many numbers to how many, and how; what nobody said is left out."""
    said = {word: known.get(word) for word in ("type", "seed", "input_dim", "dim")}
    parts = [str(said["type"])] if said["type"] else ["not said"]
    if said["seed"] is not None:
        parts.append(f"seed {said['seed']}")
    source = f"{said['input_dim']:,} to " if said["input_dim"] else "to "
    return ", ".join([*parts, f"{source}{said['dim']:,}"])


def preview(export: Export, kind: str) -> None:
    """The first three rows as they leave, shown as plain text."""
    if kind == "parquet":
        st.caption("Parquet is binary; the JSON lines of the same run show its texts.")
        return
    lines = export.content.decode("utf-8").split("\n")[:3]
    st.code("\n".join(line[:400] for line in lines), language=None, wrap_lines=True)

"""What a mouse does on a figure, as short text: a region that is drawn, a part that is clicked.

Streamlit sends a lasso as its whole path in full precision, 43 bytes a corner, every point within
it, and all of that again in every later run; of clicks it knows those on points, not those on the
cells of a heatmap. So a component of our own, without a body, listens to plotly's events and sends
what is asked for, once: at most 32 corners of four letters, or the numbers of the clicked part.
"""

from collections.abc import Callable, Mapping

import streamlit as st

# It thins corners out as `gtp_core.neighbors.spell_region` does, which says how they are spelled.
_JS = """
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
const stops = new WeakMap()

function letters(value) {
  const step = Math.min(4095, Math.max(0, Math.round(value * 4095)))
  return LETTERS[step >> 6] + LETTERS[step & 63]
}

function thinned(corners) {
  const area = (a, b, c) =>
    Math.abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])) / 2
  for (let n = corners.length; n > 3; n = corners.length) {
    const lost = corners.map((b, i) => area(corners[(i + n - 1) % n], b, corners[(i + 1) % n]))
    const least = Math.min(...lost)
    if (n <= 32 && least > 1e-6) break
    corners.splice(lost.indexOf(least), 1)
  }
  return corners
}

function spelled(event) {
  const drawn = event?.selections?.at(-1)
  if (!drawn) return ""
  const { type, path, x0, x1, y0, y1 } = drawn
  const corners = type === "path"
    ? thinned(path.slice(1, -1).split("L").map((corner) => corner.split(",").map(Number)))
    : [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
  return corners.map(([x, y]) => letters(x) + letters(y)).join("")
}

function clicked(event) {
  const point = event.points[0]
  return [point.curveNumber].concat(point.pointNumber).join(".")
}

export default function ({ data, parentElement, setTriggerValue }) {
  stops.get(parentElement)?.()
  const heard = []
  const say = (figure, kind, what) => setTriggerValue("said", `${figure}:${kind}:${what}`)
  const attach = () => {
    for (const figure of data.figures) {
      const plot = document.querySelector(`.st-key-${figure} .js-plotly-plot`)
      if (!plot || !plot.on || heard.some(([known]) => known === plot)) continue
      const handlers = {
        plotly_selected: (event) => event && say(figure, "region", spelled(event)),
        plotly_deselect: () => say(figure, "region", ""),
        plotly_click: (event) => say(figure, "click", clicked(event)),
        plotly_treemapclick: (event) => {
          say(figure, "click", clicked(event))
          return false
        },
      }
      for (const [name, handler] of Object.entries(handlers)) plot.on(name, handler)
      heard.push([plot, handlers])
      plot.dataset.heard = "yes"
    }
  }
  const timer = setInterval(attach, 200)
  attach()
  const stop = () => {
    clearInterval(timer)
    for (const [plot, handlers] of heard)
      for (const [name, handler] of Object.entries(handlers)) plot.removeListener?.(name, handler)
  }
  stops.set(parentElement, stop)
  return stop
}
"""

_component = st.components.v2.component("gtp_listen", js=_JS)


def listen(key: str, figures: Mapping[str, Callable[[str, str], None]]) -> None:
    """Call a figure's function with (kind, what) before the next run of the page.

    Args:
        key: of the component.
        figures: by the figure's key, what to call: with `region` and the corners as
            `read_region` takes them, empty when the region was taken away; or with `click` and
            the numbers of the trace and of the part in it, such as `0.17` or `0.2.5`.
    """

    def said() -> None:
        figure, _, rest = str(st.session_state[key]["said"] or "").partition(":")
        kind, _, what = rest.partition(":")
        if figure in figures:
            figures[figure](kind, what)

    _component(key=key, data={"figures": list(figures)}, height=1, on_said_change=said)

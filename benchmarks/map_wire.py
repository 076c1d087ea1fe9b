"""The map in a real browser: bytes of the first view and of a lasso by mouse, and its seconds.

    python -m benchmarks.synthetic /tmp/store --samples 200000 --dim 64
    python -m gtp_core neighbors /tmp/store --map trajectory
    python -m benchmarks.map_wire /tmp/store

Every lasso is drawn by real mouse moves, a flower of 96 of them; its seconds go from the mouse's
release to the heading of the region's card. What the heading counts is compared with the core's
own answer for the region in the address before anything is printed. Bytes are those of the
websocket, both ways. Needs playwright (requirements-dev.txt) and a Chromium.
"""

import argparse
import math
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from gtp_core.catalog import Catalog, open_catalog
from gtp_core.neighbors import inside, region_of, saved_map

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage"]
FLAGS += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
_PATIENCE = 300_000  # ms
_HEADING = """before => {
  const all = [...document.querySelectorAll("h3")].map((one) => one.innerText)
  return all.some((text) => text.startsWith("Region of") && text !== before)
}"""


@contextmanager
def served(store: Path, workspace: Path | None) -> Iterator[str]:
    """The app on a store; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"GTP_STORE": str(store)}
    environment |= {"GTP_WORKSPACE": str(workspace)} if workspace else {}
    command = [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


class Tab:
    """A page on the map, and the bytes that went over its websocket."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.sent, self.received = page, 0, 0
        page.on("websocket", self._listen)
        for _ in range(100):  # until the server listens
            try:
                page.goto(f"{address}/map")
                break
            except Exception:
                time.sleep(0.2)
        page.locator("[data-heard] .nsewdrag").first.wait_for(timeout=_PATIENCE)
        self.settle()

    def _listen(self, socket: Any) -> None:
        def up(data: Any) -> None:
            self.sent += len(data)

        def down(data: Any) -> None:
            self.received += len(data)

        socket.on("framesent", up)
        socket.on("framereceived", down)

    def settle(self) -> None:
        """Wait until nothing has moved for two seconds."""
        moved = -1
        while moved != self.sent + self.received:
            moved = self.sent + self.received
            self.page.wait_for_timeout(2000)

    def lasso(self, x: float, y: float, radius: float) -> dict[str, float]:
        """Draw one in the first panel; places are shares of it."""
        box = self.page.locator("[data-heard] .nsewdrag").first.bounding_box()
        headings = self.page.locator("h3").all_inner_texts()
        before = next((one for one in headings if one.startswith("Region of")), "")
        self.sent = self.received = 0
        for step in range(97):
            turn = step / 96 * 2 * math.pi
            far = radius * (1 + 0.2 * math.sin(7 * turn))
            across, along = x + far * math.cos(turn), y + far * math.sin(turn)
            self.page.mouse.move(box["x"] + across * box["width"], box["y"] + along * box["height"])
            if step == 0:
                self.page.mouse.down()
        start = time.perf_counter()
        self.page.mouse.up()
        self.page.wait_for_function(_HEADING, arg=before, timeout=_PATIENCE)
        seconds = time.perf_counter() - start
        self.settle()
        return {"seconds": seconds, "up": self.sent, "down": self.received}

    def checked(self, catalog: Catalog) -> int:
        """How many samples the region has, by the page and by the core."""
        heading = next(
            one for one in self.page.locator("h3").all_inner_texts() if one.startswith("Region of")
        )
        shown = int(re.sub(r"\D", "", heading))
        text = re.search(r"region=([\w-]+)%3A(\w+)", self.page.url)
        assert text is not None, self.page.url
        polygon, source = region_of(f"{text[1]}:{text[2]}")
        found = saved_map(catalog, source)
        assert found is not None
        assert len(inside(found, polygon)) == shown
        return shown


def measured(store: Path, workspace: Path | None, lassos: int) -> None:
    """Print the first view and every lasso."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with (
        served(store, workspace) as address,
        closing(open_catalog(store, workspace=workspace)) as catalog,
        sync_playwright() as playwright,
        closing(playwright.chromium.launch(executable_path=chromium, args=FLAGS)) as browser,
    ):
        start = time.perf_counter()
        tab = Tab(browser.new_page(viewport={"width": 1400, "height": 1100}), address)
        seconds = time.perf_counter() - start - 2
        n = catalog.store.n_samples
        print(f"{n:,} samples: first view {seconds:.1f} s, {tab.received / 1e6:.2f} MB down")
        found = []
        for turn in range(lassos):
            one = tab.lasso(0.2 + 0.6 * (turn % 2), 0.5, 0.12 + 0.02 * (turn % 3))
            found.append(one)
            print(
                f"lasso around {tab.checked(catalog):,}: {one['up']:,} B up, {one['down']:,} B "
                f"down, {one['seconds']:.2f} s from the mouse's release to the card"
            )
        print(
            f"median {statistics.median(one['seconds'] for one in found):.2f} s; at most "
            f"{max(one['up'] for one in found):,} B up, {max(one['down'] for one in found):,} down"
        )


def main() -> None:
    """Measure the store that the command line names."""
    parser = argparse.ArgumentParser(description="Bytes and seconds of the map in a browser.")
    parser.add_argument("store", type=Path, help="folder of a store whose map is made")
    parser.add_argument("--workspace", type=Path, help="where its map lies, if not in the store")
    parser.add_argument("--lassos", type=int, default=6)
    asked = parser.parse_args()
    measured(asked.store, asked.workspace, asked.lassos)


if __name__ == "__main__":
    main()

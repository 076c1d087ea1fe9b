"""A server on a free port and visitors who notice every error and every request that leaves."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import build_store

import gtp_core
from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.methods import Settings
from gtp_core.report import prepare_path

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

ROOT = Path(gtp_core.__file__).resolve().parent.parent
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FLAGS += ["--disable-dev-shm-usage", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PATIENCE = 60_000  # ms


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    known = {"executable_path": CHROMIUM} if CHROMIUM else {}
    return {**browser_type_launch_args, **known, "args": FLAGS}


@dataclass
class Server:
    """A running app: where it listens, when it said so, and what it logged."""

    address: str
    printed: float
    log: Path


@contextmanager
def running(folder: Path, **environment: str) -> Iterator[Server]:
    """`streamlit run app.py` on a free port; fails if its log holds a traceback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / f"server-{port}.log"
    command = [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GTP_")}
    with open(log, "w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=clean | environment, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_until_ready(address, log, process)
            yield Server(address, time.monotonic(), log)
        finally:
            process.terminate()
            process.wait(20)
    assert "Traceback" not in log.read_text(), log.read_text()


def _wait_until_ready(address: str, log: Path, process: subprocess.Popen) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        if "URL:" in log.read_text():
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
                    if answer.read() == b"ok":
                        return
            except OSError:
                pass
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """A folder with a small store, loaded and solved."""
    folder = tmp_path_factory.mktemp("browser")
    store = build_store(folder / "store", n=300, part_rows=(120, 180))
    with closing(open_catalog(store, workspace=folder / "work")) as catalog:
        for task in ("maths", "dates"):
            prepare_path(catalog, pose(catalog, task), Settings())
    return folder


def environment_of(place: Path) -> dict[str, str]:
    return {"GTP_STORE": str(place / "store"), "GTP_WORKSPACE": str(place / "work")}


@pytest.fixture(scope="session")
def server(place) -> Iterator[Server]:
    """The app on the small store."""
    with running(place, **environment_of(place)) as started:
        yield started


@pytest.fixture
def core(place):
    with closing(open_catalog(place / "store", workspace=place / "work")) as catalog:
        yield catalog


@dataclass
class Visitor:
    """A tab of a browser context of its own, and everything it noticed."""

    page: Page
    left: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    def open(self, address: str) -> None:
        self.page.goto(address)
        self.settle()

    def settle(self, quiet: float = 1.0) -> None:
        """Wait until the page has stood still for `quiet` seconds."""
        app = self.page.get_by_test_id("stApp")
        expect(app).to_have_attribute("data-test-connection-state", "CONNECTED", timeout=PATIENCE)
        end, still = time.monotonic() + PATIENCE / 1000, None
        while time.monotonic() < end:
            running_now = app.get_attribute("data-test-script-state") != "notRunning"
            still = None if running_now else still or time.monotonic()
            if still and time.monotonic() - still > quiet:
                break
            self.page.wait_for_timeout(50)
        expect(self.page.get_by_test_id("stException")).to_have_count(0)

    def go(self, name: str, heading: str) -> None:
        menu = self.page.get_by_test_id("stSidebarNav")
        menu.get_by_role("link", name=name, exact=True).click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text(heading, timeout=PATIENCE)
        self.settle()

    def metric(self, label: str):
        name = self.page.get_by_test_id("stMetricLabel").get_by_text(label, exact=True)
        return self.page.get_by_test_id("stMetric").filter(has=name).get_by_test_id("stMetricValue")


@pytest.fixture
def visit(browser, server) -> Iterator[Callable[..., Visitor]]:
    """`visit(path)`: a new visitor at a path; in the end nothing may have gone wrong or out."""
    opened: list[tuple[Visitor, object]] = []

    def start(path: str = "/", *, address: str = "", **options) -> Visitor:
        options = {"viewport": {"width": 1400, "height": 1000}} | options
        context = browser.new_context(**options)
        visitor = Visitor(context.new_page())
        opened.append((visitor, context))
        _listen(visitor, context)
        visitor.open((address or server.address) + path)
        return visitor

    yield start
    for visitor, context in opened:
        context.close()
        assert visitor.left == []
        assert visitor.errors == []


def _listen(visitor: Visitor, context) -> None:
    def route(route) -> None:
        if urlsplit(route.request.url).hostname in ("127.0.0.1", "localhost", None):
            route.continue_()
        else:
            visitor.left.append(route.request.url)
            route.abort()

    def console(message) -> None:
        # A deep link asks below its own path first; Streamlit's client then finds the right one.
        known = "/_stcore/" in message.location.get("url", "") and "404" in message.text
        if message.type == "error" and not known:
            visitor.errors.append(message.text)

    def websocket(socket) -> None:
        if urlsplit(socket.url).hostname not in ("127.0.0.1", "localhost"):
            visitor.left.append(socket.url)
        socket.on("framereceived", lambda data: visitor.received.append(len(data)))
        socket.on("framesent", lambda data: visitor.sent.append(len(data)))

    context.route("**/*", route)
    visitor.page.on("console", console)
    visitor.page.on("pageerror", lambda error: visitor.errors.append(str(error)))
    visitor.page.on("websocket", websocket)

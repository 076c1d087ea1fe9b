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
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from conftest import build_store

import gtp_core
from gtp_core import jobs
from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.methods import Settings
from gtp_core.report import prepare_path

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import BrowserContext, Page, Request, expect

ROOT = Path(gtp_core.__file__).resolve().parent.parent
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FLAGS += ["--disable-dev-shm-usage", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
FLAGS += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"]
LOCAL = ("127.0.0.1", "localhost", None)
PATIENCE = 60_000  # ms

# Runs in every page before anything else, and notes what is not rest: a message to the server that
# has no answer yet, a change of the page, a file that has just arrived. A new tab forgets what the
# tab of an earlier visitor has stored.
_WATCH = """(() => {
  if (location.protocol === "http:" && !sessionStorage.getItem("known")) {
    localStorage.clear()
    sessionStorage.setItem("known", "yes")
  }
  const seen = window.gtpSeen = { waits: false, moved: true, calm: 0, asked: "" }
  window.WebSocket = class extends window.WebSocket {
    constructor(...all) {
      super(...all)
      this.addEventListener("message", () => { seen.waits = false; seen.moved = true })
    }
    send(data) {
      seen.waits = true
      super.send(data)
    }
  }
  const moved = () => { seen.moved = true }
  new PerformanceObserver(moved).observe({ type: "resource" })
  new MutationObserver(moved).observe(document, {
    attributes: true, characterData: true, childList: true, subtree: true,
  })
})()"""

# Counted in ticks of the page's own clock: while the page is busy, or the machine is, no tick comes
# either, and whatever the page had put off for less than all the ticks has been done.
_RESTS = """([asked, ticks]) => {
  const seen = window.gtpSeen, app = document.querySelector('[data-testid="stApp"]')
  if (seen.asked !== asked) Object.assign(seen, { asked, calm: 0 })
  const calm = app && !seen.waits && !seen.moved
    && app.dataset.testConnectionState === "CONNECTED"
    && app.dataset.testScriptState === "notRunning"
    && !document.querySelector('[data-testid="stSkeleton"]')
  seen.moved = false
  seen.calm = calm ? seen.calm + 1 : 0
  return seen.calm >= ticks
}"""
_TICK = 50  # ms
_TICKS = 8


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
        except BaseException:
            print(log.read_text())  # what the visitor met may have been told to the server only
            raise
        finally:
            process.terminate()
            process.wait(20)
    assert "Traceback" not in log.read_text(), log.read_text()


@contextmanager
def held(job: jobs.Job) -> Iterator[None]:
    """A job stands still meanwhile, so that it cannot end before the page is looked at."""
    worker = psutil.Process(job.pid)
    worker.suspend()
    try:
        yield
    finally:
        worker.resume()


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


_numbers = count()


@dataclass
class Visitor:
    """A tab of a browser context of its own, and everything it noticed."""

    page: Page
    left: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    def asks(self, request: Request) -> None:
        """Notes a request that leaves; the browser itself finds no other host than this one."""
        if urlsplit(request.url).hostname not in LOCAL:
            self.left.append(request.url)

    def open(self, address: str, *, rest: bool = True) -> None:
        """Go there; a page that tells how far a job is has no rest before the job has ended."""
        self.page.goto(address)
        if rest:
            self.settle()

    def settle(self) -> None:
        """Wait until the page is at rest.

        No script runs, nothing was sent that waits for an answer, nothing is being fetched, and
        nothing has changed on the page for 8 ticks of its own clock, 0.4 s at least.
        """
        asked = str(next(_numbers))
        self.page.wait_for_function(
            _RESTS, arg=[asked, _TICKS], polling=_TICK, timeout=2 * PATIENCE
        )
        expect(self.page.get_by_test_id("stException")).to_have_count(0)

    def insist(self, act: Callable[[], None], done: Callable[[], bool]) -> None:
        """Do what a canvas or a figure may miss while it is drawn anew, until it is done."""
        for _ in range(10):
            act()
            self.settle()
            if done():
                return
        raise AssertionError("The page did nothing ten times.")

    def point_and_click(self, x: float, y: float) -> None:
        """A click on a figure, which asks every 50 ms what lies under the pointer."""
        for back in (6, 3, 0):
            self.page.mouse.move(x + back, y)
            self.page.wait_for_timeout(100)
        self.page.mouse.down()
        self.page.wait_for_timeout(60)
        self.page.mouse.up()

    def go(self, name: str, heading: str) -> None:
        menu = self.page.get_by_test_id("stSidebarNav")
        menu.get_by_role("link", name=name, exact=True).click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text(heading, timeout=PATIENCE)
        self.settle()

    def metric(self, label: str):
        name = self.page.get_by_test_id("stMetricLabel").get_by_text(label, exact=True)
        return self.page.get_by_test_id("stMetric").filter(has=name).get_by_test_id("stMetricValue")


class Contexts:
    """Browser contexts, each for one visitor at a time, and used again once he has left.

    The scripts of the app are then in the context's cache: 7 MB that need not be fetched anew.
    """

    def __init__(self, browser) -> None:
        self.browser = browser
        self.free: dict[str, list[BrowserContext]] = {}

    def take(self, **options) -> BrowserContext:
        free = self.free.setdefault(str(sorted(options.items())), [])
        if free:
            return free.pop()
        context = self.browser.new_context(**options)
        context.add_init_script(_WATCH)
        return context

    def give_back(self, context: BrowserContext, **options) -> None:
        """Leave nothing behind but the cache."""
        for page in context.pages:
            page.close()
        context.clear_cookies()
        self.free[str(sorted(options.items()))].append(context)


@pytest.fixture(scope="session")
def contexts(browser) -> Contexts:
    return Contexts(browser)


@pytest.fixture
def visit(contexts, server) -> Iterator[Callable[..., Visitor]]:
    """`visit(path)`: a new visitor at a path; in the end nothing may have gone wrong or out."""
    opened: list[tuple[Visitor, Callable[[], None]]] = []

    def start(path: str = "/", *, address: str = "", rest: bool = True, **options) -> Visitor:
        options = {"viewport": {"width": 1400, "height": 1000}} | options
        context = contexts.take(**options)
        visitor = Visitor(context.new_page())
        _listen(visitor, context)

        def leave() -> None:
            context.remove_listener("request", visitor.asks)
            contexts.give_back(context, **options)

        opened.append((visitor, leave))
        visitor.open((address or server.address) + path, rest=rest)
        return visitor

    yield start
    for _, leave in opened:
        leave()
    for visitor, _ in opened:
        assert visitor.left == []
        assert visitor.errors == []


def _listen(visitor: Visitor, context: BrowserContext) -> None:
    def console(message) -> None:
        # A deep link asks below its own path first; Streamlit's client then finds the right one.
        known = "/_stcore/" in message.location.get("url", "") and "404" in message.text
        if message.type == "error" and not known:
            visitor.errors.append(message.text)

    def websocket(socket) -> None:
        if urlsplit(socket.url).hostname not in LOCAL:
            visitor.left.append(socket.url)
        socket.on("framereceived", lambda data: visitor.received.append(len(data)))
        socket.on("framesent", lambda data: visitor.sent.append(len(data)))

    context.on("request", visitor.asks)
    visitor.page.on("console", console)
    visitor.page.on("pageerror", lambda error: visitor.errors.append(str(error)))
    visitor.page.on("websocket", websocket)

"""Promises of long work: it goes on without its page, can be ended, and a dead one is known."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import build_store

from gtp_core import jobs
from gtp_core.catalog import open_catalog
from gtp_core.errors import CancelledError, CatalogError
from gtp_core.neighbors import saved_neighbors

SLOW = """
import sys, time
from pathlib import Path
from gtp_core.jobs import as_job
import subprocess
def work(progress):
    child = subprocess.Popen(["sleep", "60"])
    Path(sys.argv[1]).write_text(str(child.pid))
    for i in range(600):
        progress(i, 600, "waiting")
        time.sleep(0.1)
as_job(work, lambda *say: None)
"""


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """`slow(name)`: a job that waits for a minute, beside a child of its own."""

    def start(name="slow"):
        real = subprocess.Popen

        def swapped(command, **options):
            script = [sys.executable, "-c", SLOW, str(tmp_path / "child")]
            return real(script, **options)

        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", swapped)
            return jobs.start(tmp_path, name, ["wait"])

    yield start
    jobs.cancel(tmp_path, "slow")


def gone(pid):
    """Whether a process is no more, or only waits to be asked for."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def test_a_job_is_known_to_whoever_looks_and_starts_once(slow, tmp_path):
    first = slow()
    assert first.state == "running"
    wait_for(lambda: jobs.look(tmp_path, "slow").done > 2)
    seen = jobs.look(tmp_path, "slow")
    assert (seen.pid, seen.what) == (first.pid, "waiting")
    assert 0 < seen.share < 1
    assert slow().pid == first.pid


def test_a_cancel_ends_the_worker_and_what_it_started(slow, tmp_path):
    job = slow()
    child = tmp_path / "child"
    wait_for(lambda: child.exists() and child.read_text())
    assert jobs.cancel(tmp_path, "slow").state == "cancelled"
    wait_for(lambda: gone(job.pid))
    wait_for(lambda: gone(int(child.read_text())))
    assert jobs.look(tmp_path, "slow").state == "cancelled"
    assert jobs.cancel(tmp_path, "slow").state == "cancelled"
    assert slow().state == "running"


def test_a_worker_that_was_killed_is_known_to_be_dead(slow, tmp_path):
    job = slow()
    os.killpg(job.pid, signal.SIGKILL)
    wait_for(lambda: jobs.look(tmp_path, "slow").state == "dead")
    jobs.forget(tmp_path, "slow")
    assert jobs.look(tmp_path, "slow") is None


def test_a_number_that_another_program_got_is_left_alone(tmp_path):
    """The file says running under our own number, but nobody holds the lock."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/x.json").write_text(f'{{"state": "running", "pid": {os.getpid()}}}')
    assert jobs.look(tmp_path, "x").state == "dead"
    assert jobs.cancel(tmp_path, "x").state == "dead"


def test_a_second_worker_of_the_same_job_steps_back(slow, tmp_path, monkeypatch, says):
    slow()
    monkeypatch.setenv("GTP_JOB", str(tmp_path / "jobs/slow.json"))
    with pytest.raises(CancelledError) as caught:
        jobs.as_job(lambda progress: None, lambda *say: None)
    says(caught.value, "runs already")


def test_neighbors_as_a_job_builds_the_graph(tmp_path):
    store = build_store(tmp_path / "store")
    opened = open_catalog(store, workspace=tmp_path / "work")
    arguments = ["neighbors", str(store.folder), "--workspace", str(tmp_path / "work")]
    jobs.start(opened.workspace, "neighbors", arguments)
    wait_for(lambda: jobs.look(opened.workspace, "neighbors").state != "running", 60)
    assert jobs.look(opened.workspace, "neighbors").state == "done"
    assert saved_neighbors(opened) is not None
    opened.close()


def test_a_job_that_fails_says_why(tmp_path, says):
    with pytest.raises(CatalogError) as caught:
        jobs.start(tmp_path, "bad", ["neighbors", str(tmp_path / "nowhere"), "--seed", "x"])
    says(caught.value, "did not start")
    job = jobs.start(tmp_path, "none", ["neighbors", str(tmp_path / "nowhere")])
    wait_for(lambda: jobs.look(tmp_path, "none").state != "running")
    job = jobs.look(tmp_path, "none")
    assert job.state == "failed"
    assert "nowhere" in job.message


def test_a_file_that_is_no_job_is_none(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/x.json").write_text("[")
    assert jobs.look(tmp_path, "x") is None

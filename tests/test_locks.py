"""Promises of a lock on a file, between real processes."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from gtp_core.errors import CancelledError, GTPError
from gtp_core.locks import hold, is_held

HOLDER = """
import os, sys
from pathlib import Path
from gtp_core.locks import hold
def refuse():
    sys.exit("someone has it")
with hold(Path(sys.argv[1]), refuse):
    forks = sys.argv[2:] == ["fork"]
    child = forks and not os.fork()
    if child or not forks:
        print("held", flush=True)  # of a child, that it begins to run
    sys.stdin.readline()
    if child:
        os._exit(0)
"""
COUNTER = """
import sys
from pathlib import Path
from gtp_core import locks
locks._WAIT = 0.001
lock, count = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(100):
    with locks.hold(lock, lambda: None):
        count.write_text(str(int(count.read_text()) + 1))
        if sys.argv[3:]:
            lock.unlink()
"""


@contextmanager
def holding(path, *told):
    """A process that has the lock until it is killed, or its input ends."""
    command = [sys.executable, "-c", HOLDER, str(path), *told]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def refuse():
    raise CancelledError("someone is at it. Wait.")


def test_a_second_process_is_refused_in_the_callers_words(tmp_path):
    path = tmp_path / "lock"
    with holding(path):
        with pytest.raises(CancelledError, match="someone is at it"), hold(path, refuse):
            raise AssertionError("two have it")
        command = [sys.executable, "-c", HOLDER, str(path)]
        third = subprocess.run(command, capture_output=True, text=True)
        assert third.stderr == "someone has it\n"


def test_a_second_process_waits_until_the_first_has_done(tmp_path):
    waited = []
    with holding(tmp_path / "lock") as process:

        def busy():
            waited.append(process.poll())
            if len(waited) == 3:
                process.stdin.close()

        with hold(tmp_path / "lock", busy):
            assert len(waited) >= 3
            assert waited[:3] == [None] * 3


def test_a_wait_can_be_given_up(tmp_path):
    waited = []

    def busy():
        waited.append(1)
        if len(waited) == 2:
            raise KeyboardInterrupt

    with (
        holding(tmp_path / "lock"),
        pytest.raises(KeyboardInterrupt),
        hold(tmp_path / "lock", busy),
    ):
        raise AssertionError("two have it")
    assert len(waited) == 2


@pytest.mark.parametrize("told", [(), ("fork",)])
def test_a_killed_process_has_it_no_more(tmp_path, told):
    """Nor has a child that it forked, which shares its open files."""
    path = tmp_path / "lock"
    with holding(path, *told) as process:
        assert is_held(path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_held(path)
        with hold(path, refuse):
            assert is_held(path)
    assert not is_held(path)


def test_an_error_lets_it_go(tmp_path):
    with pytest.raises(ZeroDivisionError), hold(tmp_path / "lock", refuse):
        _ = 1 / 0
    with hold(tmp_path / "lock", refuse):
        pass


def test_one_process_has_it_once(tmp_path):
    with (
        hold(tmp_path / "lock", refuse),
        pytest.raises(CancelledError),
        hold(tmp_path / "lock", refuse),
    ):
        raise AssertionError("it has it twice")


@pytest.mark.parametrize("told", [(), ("unlink",)])
def test_of_many_one_has_it_at_a_time(tmp_path, told):
    """Also where each takes the file away, which others may have open already."""
    count = tmp_path / "count"
    count.write_text("0")
    command = [sys.executable, "-c", COUNTER, str(tmp_path / "lock"), str(count), *told]
    many = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(60) for process in many] == [0] * 4
    assert count.read_text() == "400"


def test_a_file_that_is_locked_keeps_what_is_in_it(tmp_path):
    path = tmp_path / "new/journal"
    with hold(path, refuse), open(path, "a") as file:
        file.write("one line")
    with hold(path, refuse):
        assert path.read_text() == "one line"


def test_looking_makes_no_file(tmp_path):
    assert not is_held(tmp_path / "lock")
    assert not list(tmp_path.iterdir())


def test_who_only_looks_is_not_taken_for_a_holder(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    path.touch()
    with open(path, "rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_EX)
        monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
        with hold(path, refuse):
            pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_one_sentence(tmp_path, monkeypatch, says, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(GTPError) as caught, hold(tmp_path / "lock", refuse):
        raise AssertionError("nobody can have it")
    says(caught.value, "without locks")
    assert is_held(tmp_path / "lock")  # it may


def test_a_file_that_cannot_be_opened_is_told(tmp_path):
    with pytest.raises(IsADirectoryError), hold(tmp_path, refuse):
        raise AssertionError("nobody can have it")
    assert is_held(tmp_path)

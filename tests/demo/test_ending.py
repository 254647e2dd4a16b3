"""Signals that end a run early: real ones, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from whc.demo.ending import ends_on_signal

TWICE = """
import signal, sys
from whc.demo.ending import ends_on_signal
number, watched = int(sys.argv[1]), (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
before = [signal.getsignal(each) for each in watched]
with ends_on_signal() as ending:
    first = ending.signal
    signal.raise_signal(number)
    second = ending.signal
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print(first, int(second), int(ending.signal), end=" ")
print([signal.getsignal(each) for each in watched] == before)
"""
IGNORED = """
import signal
from whc.demo.ending import ends_on_signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
with ends_on_signal() as ending:
    signal.raise_signal(signal.SIGHUP)
print(ending.signal, signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)
"""


def printed(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_noted_and_the_second_ends_at_once(number: signal.Signals) -> None:
    assert printed(TWICE, str(int(number))) == f"0 {number:d} {number:d} True\n"


def test_what_nohup_ignores_stays_ignored() -> None:
    assert printed(IGNORED) == "0 True\n"


def test_a_thread_hears_no_signals() -> None:
    heard = []

    def run() -> None:
        with ends_on_signal() as ending:
            heard.append(ending.signal)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert heard == [0]

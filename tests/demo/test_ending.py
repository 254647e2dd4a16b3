"""Signals that end a run early."""

from __future__ import annotations

import signal
import threading

import pytest

from whc.demo.ending import ends_on_signal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_the_second_ends_at_once(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with ends_on_signal() as ending:
        assert ending.signal == 0
        signal.raise_signal(number)
        assert ending.signal == number
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert ending.signal == number
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ends_on_signal() as ending:
            signal.raise_signal(signal.SIGHUP)
            assert ending.signal == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_hears_no_signals() -> None:
    heard = []

    def run() -> None:
        with ends_on_signal() as ending:
            heard.append(ending.signal)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert heard == [0]

"""Ctrl-C, SIGTERM and SIGHUP end a run early, with its files finished."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Ending:
    """Which signal has asked to end, 0 while none has."""

    def __init__(self) -> None:
        self.signal = 0

    def ask(self, number: int, _: object) -> None:
        """Note the first signal; the second one ends at once."""
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def ends_on_signal() -> Iterator[Ending]:
    """Within, the first signal is noted only: the run ends where all its outputs hold the same.

    SIGTERM and SIGHUP stay ignored where they are from the start, as `nohup` does.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending  # only the main thread hears signals
        return
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [number for name in names if (number := getattr(signal, name, None))]
    before = {number: signal.getsignal(number) for number in numbers}
    heard = [number for number in numbers if number == signal.SIGINT or before[number] != signal.SIG_IGN]
    for number in heard:
        signal.signal(number, ending.ask)
    try:
        yield ending
    finally:
        for number in heard:
            signal.signal(number, before[number])

"""Ctrl-C, SIGTERM and SIGHUP end a run early; its files are still completed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Ending:
    """The number of the signal that ended the run, 0 before any signal."""

    def __init__(self) -> None:
        self.signal = 0

    def ask(self, number: int, _: object) -> None:
        """Record the first signal; the second signal ends the process immediately."""
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def ends_on_signal() -> Iterator[Ending]:
    """In the block the first signal is only recorded, so that the run ends where all its outputs agree.

    SIGTERM and SIGHUP stay ignored if they were ignored before, as with `nohup`.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending  # only the main thread receives signals
        return
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [number for name in names if (number := getattr(signal, name, None))]
    previous_handlers = {number: signal.getsignal(number) for number in numbers}
    handled = [number for number in numbers if number == signal.SIGINT or previous_handlers[number] != signal.SIG_IGN]
    for number in handled:
        signal.signal(number, ending.ask)
    try:
        yield ending
    finally:
        for number in handled:
            signal.signal(number, previous_handlers[number])

"""How a command is ended from outside: a request to terminate and a terminal that closes count as Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Ending:
    """What ended a command early; `exit_code` is the shell's for it, 128 and the signal's number."""

    def __init__(self) -> None:
        self.signal = signal.SIGINT
        self._process = os.getpid()

    @property
    def exit_code(self) -> int:
        """Of the whole command."""
        return 128 + self.signal

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Do what Ctrl-C would do now: whoever has something to finish listens to that alone."""
        if os.getpid() != self._process:  # a fork of this process has nothing to finish
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.signal = signal.Signals(number)
        on_ctrl_c = signal.getsignal(signal.SIGINT)
        # A shell starts what runs in the background with Ctrl-C ignored.
        (on_ctrl_c if callable(on_ctrl_c) else signal.default_int_handler)(signal.SIGINT, frame)


@contextmanager
def as_ctrl_c() -> Iterator[Ending]:
    """Within, SIGTERM and SIGHUP do what Ctrl-C does; those that are ignored (`nohup`) or handled already stay so."""
    ending, before = Ending(), {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, ending.handle)
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Signals that end a command: a request to terminate, and a terminal that closes, count as Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class CommandEnding:
    """The signal that ended a command early; `exit_code` is 128 plus its number, as in a shell."""

    def __init__(self) -> None:
        self.signal = signal.SIGINT
        self._process = os.getpid()

    @property
    def exit_code(self) -> int:
        """Exit code of the whole command."""
        return 128 + self.signal

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Do what Ctrl-C would do now: code that must finish its work handles only Ctrl-C."""
        if os.getpid() != self._process:  # a fork of this process has no work to finish
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.signal = signal.Signals(number)
        on_ctrl_c = signal.getsignal(signal.SIGINT)
        # A shell starts background commands with Ctrl-C ignored.
        (on_ctrl_c if callable(on_ctrl_c) else signal.default_int_handler)(signal.SIGINT, frame)


@contextmanager
def as_ctrl_c() -> Iterator[CommandEnding]:
    """In this context SIGTERM and SIGHUP act as Ctrl-C; a signal that is ignored (`nohup`) or handled stays so."""
    ending, handlers_before = CommandEnding(), {}
    if threading.current_thread() is threading.main_thread():
        for number in ENDING_SIGNALS:
            if signal.getsignal(number) == signal.SIG_DFL:
                handlers_before[number] = signal.signal(number, ending.handle)
    try:
        yield ending
    finally:
        for number, handler in handlers_before.items():
            signal.signal(number, handler)

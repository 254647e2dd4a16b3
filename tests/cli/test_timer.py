"""`whc bench --serve` and `--time-on`: what is printed, and what is refused in a line."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
TOKEN = "0123456789abcdef-of-these-tests"
REFUSED = "must answer, got: Connection refused; start it there with `whc bench --serve`"


@pytest.fixture(autouse=True)
def without_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHC_TIMER_TOKEN", raising=False)


@pytest.fixture
def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def printed(number: int, *options: str) -> list[str]:
    """The first lines of a timer."""
    command = [sys.executable, "-c", "from whc.cli import main; main()", "bench", "--serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        lines = [process.stdout.readline().strip() for _ in range(number)]
        process.terminate()
        assert process.stdout.read() == ""
    assert process.returncode == 0
    return lines


def test_a_token_is_made_and_shown_once() -> None:
    place, token, warning = printed(3, "--host", "0.0.0.0", "--threads", "2")
    assert re.fullmatch(r"timer at http://0\.0\.0\.0:\d+: onnxruntime_cpu with 2 threads on .*", place)
    assert re.fullmatch(r"token, shown only here; others give it in WHC_TIMER_TOKEN: [0-9a-f]{64}", token)
    assert warning.startswith("0.0.0.0 is open to other machines, and nothing is encrypted: ")


def test_a_token_that_was_given_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (line,) = printed(1, "--token-file", str(tmp_path / "token"))
    assert TOKEN not in line


def test_a_port_in_use(whc_command: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ended = whc_command("bench", "--serve", "--port", port)
    rule = f"127.0.0.1:{port}: must be a free address of this machine, got: Address already in use"
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {rule}; ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--serve", "some.onnx"], "--serve: must come without FILES, --out and --json, got one of them; "),
        (["--serve", "--json"], "--serve: must come without FILES, --out and --json, got one of them; "),
        (["--serve", "--host", "no such host"], "no such host:8700: must be a free address of this machine, got: "),
        (
            ["--serve", "--token-file", "gone"],
            "--token-file: must be readable (No such file or directory), got 'gone'; ",
        ),
        (["--serve", "--token-file", "short"], "short: must be 16 or more letters, digits, '-' and '_', got something"),
        ([], "FILES: required, got nothing; see `whc bench --help`"),
    ],
)
def test_what_a_timer_refuses(whc_command: Run, home: Path, arguments: list[str], message: str) -> None:
    (home / "short").write_text("abc")
    ended = whc_command("bench", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {message}")
    assert ended.err.count("\n") == 1


def test_a_timer_whose_runtime_is_missing(whc_command: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the reference network, an ONNX file, can be run."""
    shadow = home / "shadow" / "ai_edge_litert"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("raise ModuleNotFoundError('no', name='ai_edge_litert')")
    paths = [str(shadow.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    ended = whc_command("bench", "--serve", "--runtime", "litert", "--port", 0)
    said = "error: runtime litert: must be installed, got no module 'ai_edge_litert'; install whc[litert]\n"
    assert (ended.code, ended.out, ended.err) == (2, "", said)


def test_a_timer_that_does_not_answer(whc_command: Run, monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    monkeypatch.setenv("WHC_TIMER_TOKEN", TOKEN)
    ended = whc_command("search", "--space", "tiny", "--time-on", f"127.0.0.1:{closed_port}")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f"error: timer 127.0.0.1:{closed_port}: {REFUSED}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--time-on", "127.0.0.1:8700"],
            "WHC_TIMER_TOKEN: required with --time-on, got None; set it to what the timer",
        ),
        (["--time-on", "8700", "--token-file", "token"], "--time-on: must be HOST:PORT, got '8700'; write "),
        (["--token-file", "token"], "--token-file: must come with --time-on, got 'token'; name a timer"),
    ],
)
def test_what_a_search_refuses(whc_command: Run, home: Path, options: list[str], message: str) -> None:
    (home / "token").write_text(TOKEN)
    ended = whc_command("search", "--space", "tiny", *options)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {message}")
    assert ended.err.count("\n") == 1
    assert TOKEN not in ended.err


def test_latencies_come_from_one_place(whc_command: Run, home: Path) -> None:
    ended = whc_command("factory", "build-table", "--time-on", "127.0.0.1:8700", "--latency-from", "some.json")
    message = "--time-on: must come without --latency-from, got '127.0.0.1:8700'; choose one of them"
    assert (ended.code, ended.err) == (2, f"error: {message}\n")

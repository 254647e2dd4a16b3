"""A real timer: what it gives to those who have its token, and what nobody gets."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from whc.errors import ArtifactError, UsageError
from whc.latency.bench import bench, session
from whc.latency.host import host
from whc.latency.timer import client
from whc.latency.timer.client import RemoteTimer, TimerLost, connect
from whc.latency.timer.messages import MAX_FILE_BYTES
from whc.latency.timing import REFERENCE_NAME, Protocol
from whc.plugins import ChoiceOf
from whc.records import sha256

Bad = Callable[[str], Path]
RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")
QUICK = Protocol(block_ms=0.2, warmup_ms=1, min_rounds=5, max_rounds=5)
TOKEN = "0123456789abcdef-of-these-tests"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
TimerProcess = Any


@pytest.fixture(scope="module")
def timer(start_timer: Callable[..., TimerProcess]) -> TimerProcess:
    """A timer that runs files in OpenVINO."""
    return start_timer()


def client_of(timer: TimerProcess) -> RemoteTimer:
    return connect(timer.address, TOKEN)


def ask(timer: TimerProcess, method: str, path: str, headers: dict[str, str] = HEADERS, **content: Any) -> Any:
    with requests.Session() as asking:
        asking.trust_env = False
        return asking.request(method, f"http://{timer.address}{path}", headers=headers, timeout=60, **content)


def test_files_are_timed_there(timer: TimerProcess, good: Path, bad: Bad) -> None:
    broken = bad("text")
    result = bench({"good": good, "broken": broken, "again": good}, RUNTIME, QUICK, timer=client_of(timer))
    assert list(result.latencies) == [REFERENCE_NAME, "good", "again"]
    for latency in result.latencies.values():
        assert (latency.runtime, latency.threads, latency.host) == ("openvino", 1, host())
        assert 0 < latency.low_ms <= latency.ms <= latency.high_ms
    assert result.failed["broken"].startswith(f"{broken}: must be an ONNX file")


def test_a_session_is_as_one_on_this_machine(timer: TimerProcess, good: Path, bad: Bad) -> None:
    result = session([good, bad("unknown")], RUNTIME, QUICK, 7.0, timer=client_of(timer))
    assert (result.runtime, result.host, result.reference_ms) == ("openvino", host(), 7)
    (file,) = result.files
    assert file.sha256 == sha256(good)
    assert file.ram_bytes is not None
    assert 0 < file.ram_bytes < 2**27  # OpenVINO compiles what it runs
    assert [file.path for file in result.failed] == [str(bad("unknown"))]


def test_where_no_file_can_be_timed(timer: TimerProcess, bad: Bad) -> None:
    with pytest.raises(ArtifactError, match=r"two_inputs\.onnx: must have one float32 input"):
        bench({"trial": bad("two_inputs")}, RUNTIME, QUICK, timer=client_of(timer))


def test_a_proxy_of_the_environment_is_not_asked(timer: TimerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert bench({}, RUNTIME, QUICK, timer=client_of(timer))[REFERENCE_NAME].ratio == 1


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer another"}, {"Authorization": TOKEN}])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("PUT", "/files"), ("POST", "/jobs"), ("GET", "/docs"), ("DELETE", "/x")]
)
def test_nothing_without_the_token(timer: TimerProcess, headers: dict[str, str], method: str, path: str) -> None:
    answer = ask(timer, method, path, headers)
    assert (answer.status_code, answer.text) == (401, "the token is missing or another")


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/files", "/files/" + 64 * "0", "/jobs", "/redoc"])
def test_nothing_else_is_served(timer: TimerProcess, path: str) -> None:
    assert ask(timer, "GET", path).status_code in (404, 405)


def test_a_file_is_stored_under_the_hash_of_what_came(timer: TimerProcess, good: Path) -> None:
    content = good.read_bytes() + b"and more"
    answer = ask(timer, "PUT", "/files", data=content)
    (good.parent / "sent").write_bytes(content)
    assert answer.json() == {"sha256": sha256(good.parent / "sent")}


@pytest.mark.parametrize("is_told_before", [True, False])
def test_a_file_that_is_too_large(timer: TimerProcess, is_told_before: bool) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_FILE_BYTES >> 20):
            yield bytes(1 << 20)
        yield b"1"

    content = b"".join(chunks()) if is_told_before else chunks()
    try:
        answer = ask(timer, "PUT", "/files", data=content)
    except requests.ConnectionError:
        return  # it has closed the connection before all was sent
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"timer_version": 1}, "timer_version"),
        ({"files": ["../../etc/passwd"]}, "files.0"),
        ({"files": 300 * [64 * "0"]}, "files"),
        ({"protocol": {"max_s": 1e9}}, "protocol"),
        ({"more": 1}, "more"),
    ],
)
def test_a_job_is_checked(timer: TimerProcess, change: dict[str, object], where: str) -> None:
    job = {"timer_version": 2, "files": [], "protocol": {}} | change
    answer = ask(timer, "POST", "/jobs", data=json.dumps(job))
    assert answer.status_code == 422
    assert answer.text.startswith(f"{where}: ")
    assert "\n" not in answer.text


def test_a_file_that_is_not_there_is_asked_for(timer: TimerProcess) -> None:
    job = {"timer_version": 2, "files": [64 * "0"], "protocol": {}}
    answer = ask(timer, "POST", "/jobs", data=json.dumps(job))
    assert (answer.status_code, answer.json()) == (409, {"missing": [64 * "0"]})


def test_several_clients_get_their_turn(timer: TimerProcess, good: Path) -> None:
    ratios: list[float] = []

    def ask_for_times() -> None:
        ratios.append(bench({"good": good}, RUNTIME, QUICK, timer=client_of(timer))["good"].ratio)

    threads = [threading.Thread(target=ask_for_times) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ratios) == 3


def test_a_protocol_that_a_timer_refuses_is_told_in_a_line(timer: TimerProcess, good: Path) -> None:
    with pytest.raises(UsageError, match=r"^timer 127.*: protocol: times must be at most 3600 s, got 7200; "):
        bench({"good": good}, RUNTIME, Protocol(max_s=7200), timer=client_of(timer))


def test_a_file_too_large_for_a_timer_is_not_sent(
    timer: TimerProcess, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_FILE_BYTES", 1)
    failed = bench({"good": good}, RUNTIME, QUICK, timer=client_of(timer)).failed
    assert failed["good"].startswith(f"{good}: must be at most 0 MiB to be timed on a device, got ")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b'{"timer_version": 1, "place": {}, "news": 1}', "must be of version 2, got 1; install the same version"),
        (
            b'{"timer_version": 2, "place": {"host": "", "runtime": "abacus", "threads": 1, "settings": ""}}',
            "must time on one of litert, onnxruntime_cpu, onnxruntime_cuda, openvino, tensorrt, got 'abacus'; install",
        ),
        (b"<html>hello</html>", "must answer as a timer of whc, got 'status 200: <html>hello</html>'; check"),
    ],
)
def test_what_answers_may_be_something_else(answer: bytes, reason: str) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(TimerLost) as lost:
            connect(f"127.0.0.1:{server.server_port}", TOKEN)
        thread.join()
    assert str(lost.value).startswith(f"timer 127.0.0.1:{server.server_port}: {reason}")
    assert "\n" not in str(lost.value)


def test_another_token_is_told_in_a_line(timer: TimerProcess) -> None:
    with pytest.raises(TimerLost, match=r"must be asked with its token, got another; .*WHC_TIMER_TOKEN") as lost:
        connect(timer.address, "another-0123456789")
    assert "another-0123456789" not in str(lost.value)
    assert TOKEN not in repr(client_of(timer))


@pytest.mark.parametrize(
    "address", ["", "device", "device:", "device:port", ":8700", "device:0", "device:8700/x", "a b:1"]
)
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(UsageError, match=r"^--time-on: must be HOST:PORT, got "):
        connect(address, TOKEN)


@pytest.mark.slow
def test_a_timer_that_goes_away_is_waited_for(
    start_timer: Callable[..., TimerProcess], good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RETRY_S", 0.1)
    first, told, results = start_timer("openvino"), queue.SimpleQueue[str](), []

    def await_reason(part: str) -> None:
        while part not in (reason := told.get(timeout=60)):
            assert reason.startswith(f"timer {first.address}: must ")

    # Three seconds, so that it ends in the middle.
    long = QUICK.model_copy(update={"min_rounds": 10**6, "max_rounds": 10**6, "max_s": 3.0})
    asking = client_of(first).telling(told.put)
    thread = threading.Thread(target=lambda: results.append(bench({"a": good}, RUNTIME, long, timer=asking)))
    thread.start()
    thread.join(1.5)
    assert first.end() == -signal.SIGKILL
    await_reason("must answer, got: ")
    other = start_timer("onnxruntime_cpu", first.port)  # not what the first one was
    await_reason("must time as at the beginning (openvino with 1 thread on ")
    other.end()
    await_reason("must answer, got: Connection refused; start it there with `whc bench --serve`")
    start_timer("openvino", first.port)
    thread.join(60)
    assert results[0]["a"].runtime == "openvino"
    assert told.get(timeout=1) == ""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_timer_ends_at_once_and_leaves_nothing(
    start_timer: Callable[..., TimerProcess],
    number: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    good: Path,
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    process = start_timer()
    long = QUICK.model_copy(update={"min_rounds": 10**6, "max_rounds": 10**6, "max_s": 60.0})
    asking = client_of(process)
    threading.Thread(target=lambda: bench({"a": good}, RUNTIME, long, timer=asking), daemon=True).start()
    threading.Event().wait(2)
    assert list(scratch.iterdir())
    assert process.end(number) == 0
    assert not list(scratch.iterdir())


def test_a_timer_stays_light() -> None:
    """What runs on the device may not need what only training has."""
    code = """
import json, sys
import whc.cli.bench, whc.latency.timer.server
print(json.dumps(sorted({"torch", "ray", "mlflow", "optuna", "pandas", "cv2", "fastapi"} & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert json.loads(done.stdout) == []

"""A real browser without a window, driven through its debugging pipe; it runs the page, or the engine alone."""

from __future__ import annotations

import base64
import http.server
import json
import os
import select
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from whc.demo.web.runtime_files import RUNTIME_FOLDER, runtime_files
from whc.errors import UsageError

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
LIMIT_S = 120.0
"""Seconds until a page must have done what is asked: the machine may be busy."""
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
FRAME_SIZE = (120, 160)
FOLDERS = {"engine": RUNTIME_FOLDER.with_name("engine"), "runtime": RUNTIME_FOLDER, "test": Path(__file__).parent}

Job = Callable[..., Any]


class Tab:
    """One page of a running browser."""

    def __init__(self, writer: int, reader: int) -> None:
        self._writer, self._reader = writer, reader
        self._number, self._buffer, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a command of the DevTools protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + LIMIT_S
        while True:
            answer = self._read(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._reader], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"the browser did not answer within {LIMIT_S} s"
            chunk = os.read(self._reader, 2**20)
            assert chunk, "the browser has ended"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def open(self, url: str) -> None:
        """Open an address."""
        self.call("Page.navigate", url=url)
        self.wait(f"document.readyState === 'complete' && location.href === {json.dumps(url)}")

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited, as JSON gives it."""
        options = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str, limit_s: float = LIMIT_S) -> Any:
        """The value of an expression as soon as it is true."""
        deadline = time.monotonic() + limit_s
        while not (value := self.value(expression)):
            assert time.monotonic() < deadline, f"{expression}: {self.complaints()}"
            time.sleep(0.1)
        return value

    def complaints(self) -> list[str]:
        """What the browser logged and threw."""
        self.value("0")  # all earlier events come before this answer
        texts = []
        for event in self.events:
            params = event.get("params", {})
            match event.get("method"):
                case "Runtime.exceptionThrown":
                    details = params["exceptionDetails"]
                    texts.append(str(details.get("exception", {}).get("description", details["text"])))
                case "Log.entryAdded":
                    texts.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
                case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning"):
                    texts.append(" ".join(str(item.get("value", item)) for item in params["args"]))
        return texts


@contextmanager
def running(profile: Path, *options: str) -> Iterator[Tab]:
    """A browser with a new profile in a folder, without a window."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"needs a browser ({', '.join(PROGRAMS)})")
    profile.mkdir(exist_ok=True)
    # Where it leaves files of its own. The path of its socket there must be short, which pytest's folders are not.
    scratch = tempfile.TemporaryDirectory(prefix="whc-browser-")
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"]
    command += [
        "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
        "--no-first-run",
        "--no-proxy-server",
        *options,
    ]
    # The browser reads from descriptor 3 and writes to 4.
    script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
    browser = subprocess.Popen(
        ["bash", "-c", script, "bash", *command],
        pass_fds=(theirs_in, theirs_out),
        env=os.environ | {"TMPDIR": scratch.name},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Tab(ours_out, ours_in)
    finally:
        browser.terminate()
        try:
            browser.wait(20)
        except subprocess.TimeoutExpired:
            browser.kill()
            browser.wait()
        os.close(ours_out)
        os.close(ours_in)
        scratch.cleanup()


@pytest.fixture(scope="session")
def start_browser() -> Callable[..., AbstractContextManager[Tab]]:
    """Starts browsers: `start_browser(profile, *options)` is a context."""
    return running


@pytest.fixture(scope="session")
def _runtime() -> None:
    try:
        runtime_files()
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tab(_runtime: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A browser whose camera shows bright frames."""
    folder = tmp_path_factory.mktemp("browser")
    bright = cv2.imencode(".jpg", np.full((*FRAME_SIZE, 3), 230, np.uint8))[1].tobytes()
    (folder / "camera.mjpeg").write_bytes(bright * 10)
    with running(folder / "profile", *CAMERA, f"--use-file-for-fake-video-capture={folder / 'camera.mjpeg'}") as tab:
        yield tab


class _Files(http.server.SimpleHTTPRequestHandler):
    """The files of FOLDERS."""

    extensions_map = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}

    def translate_path(self, path: str) -> str:
        folder, _, name = path.strip("/").partition("/")
        return str(FOLDERS.get(folder, Path("/nothing")) / name)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def in_browser(tab: Tab) -> Iterator[Job]:
    """Runs functions of jobs.js: `in_browser("resized", cases=...)`; JSON values, bytes, arrays, uint8 pictures."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def run(job: str, **arguments: Any) -> Any:
        answer = tab.value(f"runJob({json.dumps(job)}, {json.dumps(arguments, default=_plain)})")
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    try:
        tab.open(f"http://127.0.0.1:{server.server_port}/test/jobs.js")
        tab.value("import('/test/jobs.js').then((jobs) => { window.runJob = jobs.runJob; })")
        yield run
    finally:
        tab.open("about:blank")
        server.shutdown()
        server.server_close()


def _plain(value: object) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        return {"height": value.shape[0], "width": value.shape[1], "data": value.tobytes()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"no JSON for {type(value)}")

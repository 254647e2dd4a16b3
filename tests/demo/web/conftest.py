"""A headless Chromium that runs the engine of the page: one start for the tests of a file."""

from __future__ import annotations

import base64
import http.server
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whc.demo.web.runtime_files import RUNTIME_FOLDER, runtime_files
from whc.errors import UsageError

HERE = Path(__file__).parent
FOLDERS = {"engine": RUNTIME_FOLDER.with_name("engine"), "runtime": RUNTIME_FOLDER, "test": HERE}
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".html": "text/html"}
PAGE = b'<!doctype html><script type="module" src="/test/jobs.js"></script>'
WAIT_S = 120.0  # for a job, also on a busy machine

Job = Callable[..., Any]


class Browser:
    """Asks a page for jobs of jobs.js, one at a time."""

    def __init__(self) -> None:
        self.jobs: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.answers: queue.Queue[dict[str, Any]] = queue.Queue()

    def __call__(self, job: str, **arguments: Any) -> Any:
        """What a function of jobs.js gives for its arguments: JSON values, bytes, arrays, and pictures as uint8."""
        self.jobs.put({"job": job, "arguments": arguments})
        answer = self.answers.get(timeout=WAIT_S)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]


def _plain(value: object) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        return {"height": value.shape[0], "width": value.shape[1], "data": value.tobytes()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"no JSON for {type(value)}")


def _handler(browser: Browser) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/job":
                self._send(json.dumps(browser.jobs.get(), default=_plain).encode(), "application/json")
            elif self.path == "/":
                self._send(PAGE, TYPES[".html"])
            elif (path := self._file()).is_file():
                self._send(path.read_bytes(), TYPES[path.suffix])
            else:
                self.send_error(404)

        def _file(self) -> Path:
            folder, _, name = self.path.strip("/").partition("/")
            return FOLDERS.get(folder, HERE) / name

        def do_POST(self) -> None:
            browser.answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._send(b"", "text/plain")

        def _send(self, content: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture(scope="module")
def in_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """Runs jobs of jobs.js in Chromium: `in_browser("resized", pictures=...)`."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs Chromium")
    try:
        runtime_files()
    except UsageError as error:
        pytest.skip(str(error))
    browser = Browser()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(browser))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    profile = tmp_path_factory.mktemp("profile")
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command += ["--no-proxy-server", f"http://127.0.0.1:{server.server_port}/"]
    env = os.environ | {"TMPDIR": str(profile)}  # where it leaves files of its own
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield browser
    finally:
        browser.jobs.put(None)  # the page's last question
        process.terminate()
        process.wait(60)
        server.shutdown()
        server.server_close()

"""The server of the page: this machine alone, a path that nobody can guess, and the chosen files alone."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from whc.demo.web import server
from whc.errors import UsageError

SETUP = {"title": "a </title> of <b>", "models": []}


class Served:
    """A process that serves a page with two files, and its address."""

    def __init__(self) -> None:
        program = (
            "import json, sys; from whc.demo.web.assemble import Page; "
            "from whc.demo.web.server import page_site, serve; "
            "page = Page(json.loads(sys.argv[1]), {'model-0': b'one', 'clip': b'two'}); "
            "serve(page_site(page), 0, lambda address: print(address, flush=True))"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, json.dumps(SETUP)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.address = self.process.stdout.readline().strip()
        self.port, self.path = self.address.removeprefix("http://127.0.0.1:").split("/", 1)

    def ask(self, path: str = "", method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", int(self.port), timeout=60)
        try:
            connection.request(method, f"/{self.path}{path}", headers=headers)
            answer = connection.getresponse()
            self.content = answer.read()
            return answer
        finally:
            connection.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    started = Served()
    yield started
    started.process.send_signal(signal.SIGINT)
    assert started.process.wait(60) == 0
    assert started.process.stdout
    started.process.stdout.close()


def test_the_page_and_its_files(served: Served) -> None:
    answer = served.ask()
    assert answer.status == 200
    assert b"a &lt;/title&gt; of &lt;b&gt;" in served.content
    assert b"</title> of" not in served.content
    rules = str(answer.getheader("Content-Security-Policy"))
    assert "default-src 'none'" in rules
    assert "http" not in rules
    assert "unsafe-inline" not in rules
    assert answer.getheader("Access-Control-Allow-Origin") is None
    nonce = rules.partition("'nonce-")[2].partition("'")[0].encode()
    scripts = [line for line in served.content.splitlines() if b"<script" in line and b"application" not in line]
    assert scripts
    assert all(b'nonce="' + nonce in line for line in scripts)
    assert served.ask("parts/model-0").status == 200
    assert served.content == b"one"


def test_a_nonce_is_of_one_answer(served: Served) -> None:
    first, second = (served.ask().getheader("Content-Security-Policy") for _ in range(2))
    assert first != second


@pytest.mark.parametrize("path", ["parts/model-1", "parts/", "parts/../server.py", "parts/%2e%2e%2fserver.py", "x"])
def test_nothing_else_is_served(path: str, served: Served) -> None:
    assert served.ask(path).status == 404


def test_the_path_is_needed(served: Served) -> None:
    path, served.path = served.path, ""
    assert served.ask().status == 404
    assert served.ask("parts/model-0").status == 404
    served.path = path


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "[::1]:{port}", "127.0.0.1:{port}.x"]
)
def test_another_host_is_refused(host: str, served: Served) -> None:
    assert served.ask(Host=host.format(port=served.port)).status == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}"])
def test_another_origin_is_refused(origin: str, served: Served) -> None:
    assert served.ask("parts/model-0", Origin=origin.format(port=served.port)).status == 403


def test_the_own_origin_may_ask(served: Served) -> None:
    assert served.ask(Origin=f"http://127.0.0.1:{served.port}").status == 200
    name = f"localhost:{served.port}"
    assert served.ask(Host=name, Origin=f"http://{name}").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_only_gives(method: str, served: Served) -> None:
    assert served.ask(method=method).status == 405


def test_a_taken_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port: must be free, got {port} .*; close what listens there"):
            server.serve({}, port, print)


def test_only_this_machine(served: Served) -> None:
    listening = Path(f"/proc/{served.process.pid}/net/tcp")
    if not listening.exists():
        pytest.skip("needs /proc")
    port = f"{int(served.port):04X}"
    places = [line.split()[1] for line in listening.read_text(encoding="ascii").splitlines()[1:]]
    assert next(place for place in places if place.endswith(f":{port}")) == f"0100007F:{port}"

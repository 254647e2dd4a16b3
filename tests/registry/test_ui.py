"""The UI as a user starts it: a real server process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

pytest.importorskip("mlflow.tracking")

from whc.errors import RegistryError
from whc.records import LadderTable
from whc.registry.location import Location
from whc.registry.models import Registry
from whc.registry.ui import serve

SERVE = """
import sys
from whc.registry.location import Location
from whc.registry.ui import serve
location = Location(database=sys.argv[1], artifacts=sys.argv[2], port=int(sys.argv[3]))
serve(location, lambda line: print(line, flush=True))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_taken_port_is_told_in_one_line(location: Location) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = location.model_copy(update={"port": other.getsockname()[1]})
        with pytest.raises(RegistryError, match=r"must be a free address, got: .*; close what listens there or choose"):
            serve(taken, print)


# What other tools and a company's network set: the UI must start, here, without a log-in, and be found.
FOREIGN = {
    **dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    "MLFLOW_REGISTRY_STORE_URI": "sqlite:////no/such/folder/mlflow.db",
    "MLFLOW_STATIC_PREFIX": "/elsewhere",
    "MLFLOW_UVICORN_OPTS": "--no-such-option",
    "MLFLOW_ENABLE_WORKSPACES": "true",
    "UVICORN_SSL_KEYFILE": "/no/such/key",
}


@pytest.mark.slow
def test_the_ui_answers_here_and_ends_when_told(
    location: Location, tmp_path: Path, ladder: Callable[..., tuple[LadderTable, Path]]
) -> None:
    Registry(location).ladder_built(*ladder("m"))
    moved = location.database.parent.rename(tmp_path / "50%41?")
    port = free_port()
    command = [sys.executable, "-c", SERVE, str(moved / "mlflow.db"), str(moved / "mlartifacts"), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | FOREIGN) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            assert address == f"http://127.0.0.1:{port}/#/models"
            with urlopen(address) as page:
                assert b"MLflow" in page.read()
            file = f"http://127.0.0.1:{port}/model-versions/get-artifact?path=whc_m.onnx&name=whc_m&version=1"
            with urlopen(file) as model:
                assert model.read() == (moved / "hands" / "ladder" / "m.onnx").read_bytes()
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0

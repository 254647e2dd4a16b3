"""A real registry in a temporary folder, and ladders of real, tiny ONNX files."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from whc.records import LadderTable, Metric, ModelMetadata, VariantRow
from whc.registry import removed
from whc.registry.location import Location

LABELS = ["still", "waving"]
DATA = "d4t4"
DB_PASSWORD = "s3cret/pass@word"
DB_LOGIN = "postgres:s3cret%2Fpass%40word"
DB_SETTINGS = "-c listen_addresses=127.0.0.1 -c fsync=off -c unix_socket_directories={folder} -p {port}"


@pytest.fixture(autouse=True)
def _removed_variables() -> Iterator[None]:
    """Variables that a test sets for MLflow, whc remembers for the rest of the process: later tests would be told."""
    before = dict(removed)
    yield
    removed.clear()
    removed.update(before)


def write_onnx(path: Path, weight: float, metadata: ModelMetadata) -> None:
    """The mean of a 3x8x8 image times `weight`, through a sigmoid: the smallest file that whc can run."""
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["images", "weight"], ["scaled"]),
            helper.make_node("Sigmoid", ["scaled"], ["probabilities"]),
            helper.make_node("ReduceMean", ["probabilities", "axes"], ["prob_waving"], keepdims=0),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("prob_waving", TensorProto.FLOAT, ["batch"])],
        [
            numpy_helper.from_array(np.array(weight, np.float32), "weight"),
            numpy_helper.from_array(np.array([1, 2, 3]), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata.to_properties())
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables, made once: creating them takes seconds, copying does not."""
    pytest.importorskip("mlflow.tracking")
    from whc.registry import store

    path = tmp_path_factory.mktemp("registry") / "mlflow.db"
    store.connect(Location(database=path))
    return path


@pytest.fixture
def location(empty_database: Path, tmp_path: Path) -> Location:
    database = tmp_path / "runs" / "mlflow.db"
    database.parent.mkdir()
    shutil.copyfile(empty_database, database)
    return Location(database=database, artifacts=tmp_path / "runs" / "mlartifacts")


@pytest.fixture
def ladder(tmp_path: Path, make_metadata: Callable[..., ModelMetadata]) -> Callable[..., tuple[LadderTable, Path]]:
    """Writes a ladder with these letters, fastest first; returns its table and the study's folder."""

    def build(
        letters: str = "sml", study: str = "hands", weight: float = 1.0, **overrides: Any
    ) -> tuple[LadderTable, Path]:
        folder = tmp_path / "runs" / study
        labels = overrides.get("labels", LABELS)
        metadata = make_metadata(labels=labels, height=8, width=8, data_fingerprint=DATA)
        rows = []
        for index, letter in enumerate(letters):
            onnx_file = folder / "ladder" / f"{letter}.onnx"
            write_onnx(onnx_file, weight + index, metadata)
            rows.append(
                VariantRow(
                    name=f"{overrides.get('prefix', 'whc')}_{letter}",
                    score=0.8 + index / 100,
                    score_low=0.75 + index / 100,
                    score_high=0.84 + index / 100,
                    score_changed={"-12": 0.7, "+12": 0.71},
                    seeds={"0": 0.81 + index / 100, "1": 0.8},
                    val_score=0.81 + index / 100,
                    latency_ms=0.1 * 2**index,
                    latency_low_ms=0.09 * 2**index,
                    latency_high_ms=0.11 * 2**index,
                    size_bytes=onnx_file.stat().st_size,
                    params=index + 1,
                    runtime="onnxruntime_cpu",
                    file=f"ladder/{letter}.onnx",
                    config={"seed": 0, "model": {"backbone": {"baseline": {"width": 8 * (index + 1)}}}},
                    trial_id=f"t{index:03}",
                    notes=["the test split orders it differently"] if letter == "l" else [],
                )
            )
        fields: dict[str, Any] = {
            "study": study,
            "prefix": "whc",
            "task": "classification",
            "labels": LABELS,
            "metric": Metric(key="f1", name="F1"),
            "data_fingerprint": DATA,
            "code_version": "1.0",
            "host": "test host",
            "floor": 0.5,
            "confidence": 0.8,
            "noisy": False,
            "aa_ratio": 1.001,
            "variants_at_95": len(rows),
            "variants": rows,
        }
        return LadderTable(**(fields | overrides)), folder

    return build


def _postgres_programs() -> Path | None:
    """The folder of initdb and pg_ctl; None where PostgreSQL is not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _postgres_running(binaries: Path) -> Iterator[int]:
    """A database server for the length of the context; yields its port. It refuses to run as root."""
    folder = Path(tempfile.mkdtemp(prefix="whc-pg-"))
    is_root = os.getuid() == 0
    if is_root:
        entry = pwd.getpwnam("postgres")
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    runner = ["runuser", "-u", "postgres", "--"] if is_root else []

    def run(program: str, *arguments: str) -> None:
        command = [*runner, str(binaries / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, timeout=300)

    (folder / "password").write_text(DB_PASSWORD)
    (folder / "password").chmod(0o644)
    data, port = str(folder / "data"), _free_port()
    try:
        run("initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", str(folder / "password"), "-N")
        settings = DB_SETTINGS.format(folder=folder, port=port)
        run("pg_ctl", "-D", data, "-o", settings, "-l", str(folder / "log"), "-w", "-t", "120", "start")
        try:
            yield port
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """Makes a database of its own that has MLflow's tables, which are made once; gives its address."""
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'whc[postgres]'")
    binaries = _postgres_programs()
    if binaries is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    import psycopg

    from whc.registry import store

    count = 0
    with _postgres_running(binaries) as port:
        server = f"postgresql://{DB_LOGIN}@127.0.0.1:{port}"

        def database() -> str:
            nonlocal count
            count += 1
            with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE d{count} TEMPLATE mlflow")
            return f"{server}/d{count}"

        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE mlflow")
        made = Location(tracking_uri=f"{server}/mlflow")
        store.connect(made)
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            # MLflow keeps a connection, and a database in use cannot be copied.
            connection.execute("ALTER DATABASE mlflow ALLOW_CONNECTIONS false")
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'mlflow'")
        yield database

"""A registry that others use too: one that is down, that is none, and a real MLflow server on a real PostgreSQL."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("mlflow.tracking")

from mlflow import MlflowClient

from whc.errors import RegistryUnavailable
from whc.records import LadderTable, StudyRecord, TrialRecord
from whc.registry import packaging, store, studies
from whc.registry.files import SharedFiles
from whc.registry.location import Location
from whc.registry.models import Registry
from whc.registry.studies import StudyLog

Ladder = Callable[..., tuple[LadderTable, Path]]
Built = tuple[LadderTable, Path]
SCRIPT = Path(__file__).parents[2] / "mlflow" / "serve.sh"
PROCESSES, KILLS = 8, 10
ROUNDS = int(os.environ.get("WHC_ROUNDS", "4"))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def down() -> Location:
    return Location(tracking_uri=f"http://user:hunter22@127.0.0.1:{free_port()}")


# Down, or something else


def test_a_server_that_is_down_costs_a_built_ladder_nothing(
    down: Location, ladder: Ladder, caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    assert Registry(down).ladder_built(*ladder("sml")) == []
    assert "must answer, got: Connection refused" in caplog.text
    assert "the ladder is not registered: run `whc factory register --study hands` when it answers" in caplog.text
    assert "hunter22" not in caplog.text
    with pytest.raises(RegistryUnavailable) as caught:
        Registry(down).resolve("whc_m")
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 60


def test_a_search_goes_on_beside_a_server_that_is_down_and_is_logged_later(
    down: Location,
    location: Location,
    make_study: Callable[..., StudyRecord],
    make_trial: Callable[..., TrialRecord],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "runs" / "hands"
    study, record = make_study(study="hands"), make_trial(trial_id="00001", study="hands", val_score=0.9)
    log = StudyLog(down)
    log.study_started(study, [])
    log.trial_ended(record)
    log.study_ended("hands", folder)
    assert "the search goes on, and is logged later" in caplog.text
    assert "1 trial not logged yet" in caplog.text
    assert "the search is not logged: run `whc factory register --study hands` when it answers" in caplog.text
    study.save(folder)
    (folder / "trials" / "00001").mkdir(parents=True)
    (folder / "trials" / "00001" / "record.json").touch()
    monkeypatch.setattr(studies, "trial_records", lambda _: iter([record]))
    registry = Registry(location)
    assert registry.log_search(folder) == "logged the search of hands: 1 trial"
    assert registry.log_search(folder) == ""
    (folder / "trials" / "00002").mkdir()
    (folder / "trials" / "00002" / "record.json").touch()  # the search went on, and was not logged
    second = record.model_copy(update={"trial_id": "00002"})
    monkeypatch.setattr(studies, "trial_records", lambda _: iter([record, second]))
    assert registry.log_search(folder) == "logged the search of hands: 2 trials"
    client = store.connect(location)
    experiment = client.get_experiment_by_name("hands").experiment_id
    assert sorted(run.info.run_name for run in store.runs(client, experiment, "trial")) == ["00001", "00002"]
    assert store.study_run_id(client, experiment, study.identity)
    other = study.model_copy(update={"reference_ms": 0.3})  # another user's, of the same name
    assert store.study_run_id(client, experiment, other.identity) is None


class _Answer(BaseHTTPRequestHandler):
    status, kind, body = 200, "text/html", b"<html>hello</html>"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.send_header("Retry-After", "3600")
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def answering(**answer: Any) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answer", (_Answer,), answer))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"status": 401}, r"must accept the login, got: 401 Unauthorized; correct the login in the URI, or set MLFLOW"),
        ({"status": 404}, r"must be an MLflow server, got: 404 Not Found, text/html; correct `tracking_uri`"),
        ({}, r"must be an MLflow server, got: 200 OK, text/html; correct `tracking_uri`"),
        ({"body": b"[1, 2]", "kind": "application/json"}, r"must be an MLflow server, got: 200 OK, application/json"),
        ({"status": 503}, r"must answer, got: 503 Service Unavailable; see its log"),
    ],
)
def test_an_address_of_something_else_is_told_in_one_line(answer: dict[str, Any], message: str) -> None:
    began = time.monotonic()
    with answering(**answer) as port, pytest.raises(RegistryUnavailable, match=message) as caught:
        Registry(Location(tracking_uri=f"http://user:hunter22@127.0.0.1:{port}")).listed()
    assert str(caught.value).startswith(f"http://user:***@127.0.0.1:{port}: ")
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 30


# A real PostgreSQL


def test_mistakes_with_a_database_are_told_in_one_line(postgres: Callable[[], str]) -> None:
    import psycopg

    good = postgres()
    older, foreign = postgres(), f"{good.rpartition('/')[0]}/postgres"
    with psycopg.connect(older, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'b7e4c1a90f23'")
    newer = postgres()
    with psycopg.connect(newer, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'fedcba987654'")
    with psycopg.connect(foreign, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS orders (id int)")
    with answering() as port:
        for uri, message in {
            good.replace("%40", "%41"): "must be a PostgreSQL database, got: .*password authentication failed",
            good + "x": r'must be a PostgreSQL database, got: .*database "d\d+x" does not exist; correct the URI',
            f"postgresql://u:hunter22@127.0.0.1:{port}/x": "must be a PostgreSQL database, got: ",
            f"postgresql://u:hunter22@127.0.0.1:{free_port()}/x": "must be a PostgreSQL database, got: .*refused",
            older: r"must be of MLflow .*, got 'revision b7e4c1a90f23'; keep a copy of it, then run `python -m",
            newer: "revision fedcba987654'; a newer MLflow made it: `pip install` the version",
            foreign: "must be empty or MLflow's, got: 1 other tables; create a database of its own",
        }.items():
            with pytest.raises(RegistryUnavailable, match=message) as caught:
                store.connect(Location(tracking_uri=uri))
            assert "\n" not in str(caught.value)
            assert "s3cret" not in str(caught.value)
            assert "hunter22" not in str(caught.value)


def prepared(monkeypatch: pytest.MonkeyPatch, table: LadderTable, folder: Path, place: Path) -> None:
    """From here on, and in processes forked from here, an MLflow model is copied rather than made, which takes seconds.

    Not its making is tested here, but that its files arrive.
    """
    packaging.write(folder / table.variants[0].file, place)
    monkeypatch.setattr(packaging, "write", lambda _, target: shutil.copytree(place, target, dirs_exist_ok=True))


def check_whole(client: MlflowClient, names: set[str]) -> dict[str, list[Any]]:
    """Every version of these names, each with its files, numbers and tags; the champions are of one whole ladder."""
    files = SharedFiles(client)
    versions = {name: list(client.search_model_versions(f"name = '{name}'", max_results=1000)) for name in names}
    numbers = {model.name: model.aliases.get("champion") for model in client.search_registered_models()}
    champions = set()
    for name, held in versions.items():
        for version in held:
            run = client.get_run(version.run_id)
            listed = {file.path for file in client.list_artifacts(version.run_id)}
            assert {"MLmodel", "README.md", "row.json", f"{name}.onnx"} <= listed
            assert run.info.status == "FINISHED"
            assert run.data.metrics["f1"]
            assert {"f1", "latency_ms", "labels", "onnx_sha256"} <= version.tags.keys()
            assert version.description
            if str(version.version) == str(numbers[name]):  # a search for versions leaves out their aliases
                champions.add(version.tags["study"])
                files.model(version)
    for study in champions:
        assert all(any(version.tags["study"] == study for version in held) for held in versions.values())
    return versions


def register_all(location: Location, ladders: list[Built], cache: Path) -> None:
    os.environ["XDG_CACHE_HOME"] = str(cache)  # as on another machine
    for table, folder in ladders:
        versions, refusal = Registry(location).promote(table, folder)
        assert len(versions) == 2
        assert not refusal


@pytest.mark.slow
def test_8_processes_lose_no_version(
    postgres: Callable[[], str], ladder: Ladder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = Location(tracking_uri=postgres(), artifacts=tmp_path / "artifacts")
    ladders = [
        [ladder("ml", f"s{number}-{turn}", 1 + number + turn / ROUNDS) for turn in range(ROUNDS)]
        for number in range(PROCESSES)
    ]
    prepared(monkeypatch, *ladders[0][0], tmp_path / "model")
    began = time.monotonic()
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=register_all, args=(location, own, tmp_path / f"machine-{number}"))
        for number, own in enumerate(ladders)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    took_s = time.monotonic() - began
    client = store.connect(location)
    versions = check_whole(client, {"whc_m", "whc_l"})
    wanted = PROCESSES * ROUNDS
    lost = {name: wanted - len(held) for name, held in versions.items()}
    print(f"{PROCESSES} processes, {ROUNDS} rounds: {lost} versions lost of {wanted} each, {took_s:.0f} s")
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    for held in versions.values():
        assert sorted(int(version.version) for version in held) == list(range(1, wanted + 1))
        assert len({version.tags["onnx_sha256"] for version in held}) == wanted
    champions = [client.get_model_version_by_alias(name, "champion") for name in versions]
    assert len({champion.tags["study"] for champion in champions}) == 1


def register_until(location: Location, built: Built, client_call: int) -> None:
    """Register; kill -9 this process at its nth call that writes. Exits with the number of calls otherwise."""
    count = 0

    def counted(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == client_call:
            threading.Timer(0.005, os.kill, (os.getpid(), signal.SIGKILL)).start()  # while the call is at work
        return call(*args, **kwargs)

    for name in dir(MlflowClient):
        if name.startswith(("create_", "log_", "set_", "update_", "delete_")):
            setattr(MlflowClient, name, staticmethod_of(counted, getattr(MlflowClient, name)))
    Registry(location).promote(*built)
    os._exit(min(count, 250))


def staticmethod_of(counted: Callable[..., Any], call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: counted(call, *args, **kwargs)


@pytest.mark.slow
def test_kill_9_leaves_no_half_version(
    postgres: Callable[[], str], ladder: Ladder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = Location(tracking_uri=postgres(), artifacts=tmp_path / "artifacts")
    # By another address, as a forked process inherits the connections that MLflow keeps for each address.
    here = location.model_copy(update={"tracking_uri": f"{location.tracking_uri}?application_name=test"})
    ladders = [ladder("ml", f"s{turn}", 1 + turn / KILLS) for turn in range(KILLS + 1)]
    prepared(monkeypatch, *ladders[0], tmp_path / "model")
    context, names = multiprocessing.get_context("fork"), {"whc_m", "whc_l"}

    def ended(built: Built, client_call: int) -> int:
        process = context.Process(target=register_until, args=(location, built, client_call))
        process.start()
        process.join()
        return int(process.exitcode or 0)

    calls = ended(ladders[0], 0)
    assert calls > KILLS
    killed = half = 0
    for turn in range(KILLS):
        built = ladders[turn + 1]
        killed += ended(built, 1 + turn * (calls - 1) // (KILLS - 1)) == -signal.SIGKILL
        try:
            check_whole(store.connect(here), names)
        except AssertionError:
            half += 1
        lines, _ = Registry(here).promote(*built)
        assert [line.split()[3].rstrip(",") for line in lines] == [str(turn + 2)] * 2
        versions = check_whole(store.connect(here), names)
        assert {len(held) for held in versions.values()} == {turn + 2}
    print(f"{killed} of {KILLS} registrations killed with -9 at {KILLS} of {calls} calls: {half} left half a version")
    assert killed >= KILLS - 2
    assert half == 0


@contextlib.contextmanager
def served(uri: str, folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """`mlflow/serve.sh` on a database; yields its address and a function that stops it."""
    place, port = urlsplit(uri), free_port()
    variables = {
        "WHC_DB_USER": str(place.username),
        "WHC_DB_PASSWORD": unquote(str(place.password)),
        "WHC_DB_PORT": str(place.port),
        "WHC_DB_NAME": place.path.strip("/"),
        "WHC_PORT": str(port),
        "WHC_ARTIFACTS": str(folder / "store"),
        "WHC_WORKERS": "1",
        "PYTHON": sys.executable,
        "PYTHONWARNINGS": "ignore",
    }
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [str(SCRIPT)], env=os.environ | variables, stdout=log, stderr=log, start_new_session=True
        )

        def stop() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()

        try:
            for _ in range(1200):
                assert server.poll() is None, (folder / "server.log").read_text()
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.25)
            yield f"http://127.0.0.1:{port}", stop
        finally:
            stop()


@pytest.mark.slow
def test_a_server_keeps_the_files_and_a_cache_serves_them_while_it_is_down(
    postgres: Callable[[], str],
    ladder: Ladder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table, folder = ladder("ml")
    with served(postgres(), tmp_path) as (address, stop):
        location = Location(tracking_uri=address.replace("//", "//user:hunter22@"))
        lines = Registry(location).ladder_built(table, folder)
        assert lines == [f"registered {name} version 1, alias champion" for name in ("whc_m", "whc_l")]
        assert Registry(location).ladder_built(table, folder) == lines
        client = store.connect(location)
        assert all(len(held) == 1 for held in check_whole(client, {"whc_m", "whc_l"}).values())
        assert client.get_model_version("whc_m", "1").source.startswith("mlflow-artifacts:/")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
        fetched = Registry(location).resolve("whc_m")
        assert fetched.is_relative_to(tmp_path / "another machine")
        wanted = (folder / "ladder" / "m.onnx").read_bytes()
        assert fetched.read_bytes() == wanted
        fetched.write_bytes(b"changed")
        assert Registry(location).resolve("whc_m").read_bytes() == wanted
        assert [model.config["model"] for model in Registry(location).listed()] == [
            row.config["model"] for row in table.variants
        ]
        stop()
        with caplog.at_level(logging.WARNING):
            assert Registry(location).resolve("whc_m") == fetched
        assert "whc_m: the file that was fetched last is used" in caplog.text
        with pytest.raises(RegistryUnavailable):
            Registry(location).resolve("whc_l")  # never fetched on this machine
    assert "hunter22" not in caplog.text
    assert not capsys.readouterr().out

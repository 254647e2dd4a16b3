"""The registry's file through kills, moves, rivals and failures, with a real MLflow and real processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("mlflow.tracking")

from mlflow import MlflowClient

from whc.errors import RegistryError
from whc.records import LadderTable, sha256
from whc.registry import packaging, store
from whc.registry.failures import as_registry_errors
from whc.registry.location import Location
from whc.registry.models import Registry

Ladder = Callable[..., tuple[LadderTable, Path]]
Built = tuple[LadderTable, Path]
OLDER = "b7e4c1a90f23"  # a revision of MLflow's before its last
MODEL_FILES = {
    "MLmodel", "artifacts", "conda.yaml", "input_example.json", "pyfunc_model.py", "python_env.yaml",
    "requirements.txt", "serving_input_example.json",
}  # fmt: skip
PROJECTS = ["a?b", "50%41", "with space", "a#b&c=d", "quo'te\"s", "Größe 手", "sqlite:", "%2F", "~", "back\\slash"]


def at(project: Path) -> Location:
    return Location(database=project / "runs" / "mlflow.db", artifacts=project / "runs" / "mlartifacts")


def rows(location: Location, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(location.database)) as opened:
        return opened.execute(query).fetchall()


def change(location: Location, *statements: str) -> None:
    with closing(sqlite3.connect(location.database)) as opened, opened:
        for statement in statements:
            opened.execute(statement)


def check_whole(location: Location, built: Built, version: int = 1) -> None:
    """Each variant has this version, complete, and nothing besides is begun."""
    table, folder = built
    client = store.connect(location)
    versions = client.search_model_versions()
    assert {(one.name, int(one.version)) for one in versions} == {(row.name, version) for row in table.variants}
    for row in table.variants:
        held = client.get_model_version_by_alias(row.name, "champion")
        assert held.tags["onnx_sha256"] == sha256(folder / row.file)
        run = client.get_run(held.run_id)
        assert run.data.params["model.backbone.baseline.width"]
        assert run.data.metrics["f1"] == row.score
        listed = {one.path for one in client.list_artifacts(held.run_id)}
        assert listed == {f"{row.name}.onnx", "README.md", "row.json", *MODEL_FILES}
        packaged = packaging.bundle_folder(location.run_folder(held.run_id)) / "model.onnx"
        assert packaged.read_bytes() == (folder / row.file).read_bytes()
        assert Registry(location).resolve(row.name).read_bytes() == (folder / row.file).read_bytes()
    assert sorted(rows(location, "SELECT name, status FROM runs")) == sorted(
        (row.name, "FINISHED") for row in table.variants
    )


# Where it lies


@pytest.mark.parametrize("name", PROJECTS)
def test_everything_lies_below_the_project_whatever_its_name(
    name: str, empty_database: Path, tmp_path: Path, ladder: Ladder
) -> None:
    location = at(tmp_path / "projects" / name)
    location.database.parent.mkdir(parents=True)
    shutil.copyfile(empty_database, location.database)
    built = ladder("m")
    before = {path for path in tmp_path.rglob("*") if tmp_path / "projects" not in path.parents}
    Registry(location).ladder_built(*built)
    check_whole(location, built)
    assert [path.name for path in (tmp_path / "projects").iterdir()] == [name]
    assert {path for path in tmp_path.rglob("*") if tmp_path / "projects" not in path.parents} == before


@pytest.mark.parametrize("is_copied", [False, True])
def test_a_moved_or_copied_project_has_its_own(
    is_copied: bool, location: Location, tmp_path: Path, ladder: Ladder
) -> None:
    table, folder = ladder("ml")
    Registry(location).ladder_built(table, folder)
    old, new = tmp_path / "runs", tmp_path / "new place" / "runs"
    if is_copied:
        shutil.copytree(old, new)
    else:
        new.parent.mkdir()
        old.rename(new)
    there = at(new.parent)
    before = {path: path.stat().st_mtime_ns for path in old.rglob("*") if path.name != ".mlflow.db.lock"}
    # Before anything is written it runs its own files, and after that nothing names the old place any more.
    assert new in Registry(there).resolve("whc_m").parents
    Registry(there).ladder_built(table, new / folder.name)
    assert new in Registry(there).resolve("whc_m").parents
    check_whole(there, (table, new / folder.name))
    for query in (
        "SELECT artifact_uri FROM runs",
        "SELECT source FROM model_versions",
        "SELECT storage_location FROM model_versions",
        "SELECT artifact_location FROM experiments",
    ):
        assert all(value.startswith(there.artifacts_uri) for (value,) in rows(there, query))
    assert {path: path.stat().st_mtime_ns for path in old.rglob("*") if path.name != ".mlflow.db.lock"} == before
    assert old.exists() == is_copied


def test_files_that_stayed_behind_are_used_there_and_registered_here(
    location: Location, tmp_path: Path, ladder: Ladder
) -> None:
    table, folder = ladder("m")
    Registry(location).ladder_built(table, folder)
    old = Registry(location).resolve("whc_m")
    elsewhere = location.model_copy(update={"artifacts": tmp_path / "elsewhere"})
    assert Registry(elsewhere).resolve("whc_m") == old
    assert Registry(elsewhere).ladder_built(table, folder) == ["registered whc_m version 2, alias champion"]
    assert elsewhere.artifacts in Registry(elsewhere).resolve("whc_m").parents
    assert Registry(elsewhere).resolve("whc_m/1") == old


def test_runs_of_others_are_left_alone(location: Location, tmp_path: Path, ladder: Ladder) -> None:
    client = store.connect(location)
    theirs = client.create_experiment("theirs", (tmp_path / "theirs").as_uri())
    run = client.create_run(theirs)
    Registry(location).ladder_built(*ladder("m"))
    assert client.get_experiment(theirs).artifact_location == (tmp_path / "theirs").as_uri()
    assert client.get_run(run.info.run_id).info.artifact_uri == run.info.artifact_uri
    assert client.get_run(run.info.run_id).info.status == "RUNNING"


def test_what_other_tools_set_for_mlflow_does_not_reach_it(
    location: Location, ladder: Ladder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NoSuchPool")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    built = ladder("m")
    Registry(location).ladder_built(*built)
    check_whole(location, built)
    import os

    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


# Kills and rivals


@pytest.fixture(scope="module")
def warm() -> ForkServerContext:
    """Starts processes that have imported MLflow already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["whc.registry.models"])
    return context


def registering(warm: ForkServerContext, location: Location, built: Built) -> ForkServerProcess:
    process = warm.Process(target=Registry(location).ladder_built, args=built)
    process.start()
    return process


def test_two_first_registrations_at_once(warm: ForkServerContext, tmp_path: Path, ladder: Ladder) -> None:
    location = at(tmp_path)
    both = [ladder("ml", study="first"), ladder("ml", study="second", weight=5.0)]
    processes = [registering(warm, location, built) for built in both]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    client = store.connect(location)
    versions = client.search_model_versions()
    assert {(one.name, one.tags["study"]) for one in versions} == {
        (name, study) for name in ("whc_m", "whc_l") for study in ("first", "second")
    }
    # One after the other: the ladder that came last is champion as a whole.
    last = {client.get_model_version_by_alias(name, "champion").tags["study"] for name in ("whc_m", "whc_l")}
    assert len(last) == 1


def watch(process: ForkServerProcess, kill_at_s: float) -> float:
    """Kill a process once it has used so much of its core; gives what it used, in seconds, whatever else runs."""
    worked_s = 0.0
    while process.is_alive() and worked_s < kill_at_s:
        with contextlib.suppress(psutil.NoSuchProcess):
            worked_s = max(worked_s, sum(psutil.Process(process.pid).cpu_times()[:2]))
        time.sleep(0.005)
    process.kill()
    process.join()
    return worked_s


@pytest.mark.slow
def test_kill_9_of_the_first_registration_at_5_moments(warm: ForkServerContext, tmp_path: Path, ladder: Ladder) -> None:
    built = ladder("ml")
    whole_s = min(watch(registering(warm, at(tmp_path / name), built), 100) for name in ("one", "two"))
    killed = 0
    for moment in range(5):
        location = at(tmp_path / f"project-{moment}")
        process = registering(warm, location, built)
        watch(process, (moment + 0.5) / 5 * whole_s)
        killed += process.exitcode == -signal.SIGKILL
        Registry(location).ladder_built(*built)
        check_whole(location, built)
    assert killed >= 4


def interrupt_before(client_call: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Ctrl-C instead of the nth call that writes; gives what counts them."""
    count = 0
    writing = ("create_", "log_", "set_", "update_", "delete_")

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == client_call:
                raise KeyboardInterrupt
            return call(*args, **kwargs)

        return run

    for name in dir(MlflowClient):
        if name.startswith(writing):
            monkeypatch.setattr(MlflowClient, name, watched(getattr(MlflowClient, name)))
    return lambda: count


@pytest.fixture
def calls(location: Location, ladder: Ladder) -> Iterator[int]:
    """How many calls write when two variants are registered."""
    with pytest.MonkeyPatch.context() as patch:
        counted = interrupt_before(0, patch)
        copy = location.database.with_name("counted.db")
        shutil.copyfile(location.database, copy)
        Registry(location.model_copy(update={"database": copy})).ladder_built(*ladder("ml"))
        yield counted()


def test_cut_off_before_any_write_the_next_registration_is_right(
    calls: int, location: Location, ladder: Ladder, empty_database: Path
) -> None:
    built = ladder("ml")
    for call in range(1, calls + 1, 5):
        project = at(location.database.parent / str(call))
        project.database.parent.mkdir(parents=True)
        shutil.copyfile(empty_database, project.database)
        for cut in (call, max(1, call - 5)):  # and once more, elsewhere, on what the first has left
            with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
                interrupt_before(cut, patch)
                Registry(project).ladder_built(*built)
                raise KeyboardInterrupt  # it had less to write by then
        Registry(project).ladder_built(*built)
        check_whole(project, built)


def test_what_a_kill_left_of_another_ladder_is_closed(location: Location, ladder: Ladder) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_before(4, patch)
        Registry(location).ladder_built(*ladder("m"))
    Registry(location).ladder_built(*ladder("m", weight=3.0))
    assert sorted(status for (status,) in rows(location, "SELECT status FROM runs")) == ["FINISHED", "KILLED"]


# Half-made, damaged, of another version


def test_a_half_made_database_that_holds_nothing_is_made_anew(location: Location, ladder: Ladder) -> None:
    change(
        location,
        "DELETE FROM experiments",
        "DROP TABLE mcp_server_tags",
        f"UPDATE alembic_version SET version_num = '{OLDER}'",
    )
    built = ladder("m")
    Registry(location).ladder_built(*built)
    check_whole(location, built)


def test_the_shared_half_made_database(shared: Path, location: Location, ladder: Ladder) -> None:
    shutil.copyfile(shared / "cases" / "mlflow-half-made" / "runs" / "mlflow.db", location.database)
    built = ladder("m")
    Registry(location).ladder_built(*built)
    check_whole(location, built)


def test_an_empty_file_is_made_a_database(location: Location, ladder: Ladder) -> None:
    location.database.write_bytes(b"")
    built = ladder("m")
    Registry(location).ladder_built(*built)
    check_whole(location, built)


@pytest.mark.parametrize("statement", ["", "DROP TABLE mcp_server_tags"])
@pytest.mark.parametrize(
    ("revision", "message"),
    [
        (OLDER, r"revision b7e4c1a90f23'; keep a copy of it, then run `python -m mlflow db upgrade sqlite:///%2F"),
        (
            "fedcba987654",
            r"revision fedcba987654'; a newer MLflow made it: `pip install` the version that you had then",
        ),
    ],
)
def test_another_version_of_mlflow_is_told_and_changes_nothing(
    revision: str, message: str, statement: str, location: Location, ladder: Ladder
) -> None:
    Registry(location).ladder_built(*ladder("m"))
    # Another path: MLflow looks at a database once in a process.
    other = location.model_copy(update={"database": location.database.with_name("other.db")})
    shutil.copyfile(location.database, other.database)
    change(other, f"UPDATE alembic_version SET version_num = '{revision}'", *filter(None, [statement]))
    before = other.database.read_bytes()
    for use in (lambda: Registry(other).ladder_built(*ladder("m")), lambda: Registry(other).resolve("whc_m")):
        with pytest.raises(RegistryError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)
    assert other.database.read_bytes() == before


def spoil(location: Location, start: int) -> None:
    content = bytearray(location.database.read_bytes())
    content[start : start + 400_000] = b"\xa5" * len(content[start : start + 400_000])
    location.database.write_bytes(content)


@pytest.mark.parametrize("start", [0, 4096])
def test_a_damaged_database_is_to_be_restored(start: int, location: Location, ladder: Ladder) -> None:
    Registry(location).ladder_built(*ladder("m"))
    spoil(location, start)
    began = time.monotonic()
    for use in (lambda: Registry(location).resolve("whc_m"), lambda: Registry(location).ladder_built(*ladder("m"))):
        with pytest.raises(RegistryError, match=r"mlflow\.db: .*; restore it from a backup") as caught:
            use()
        assert "move it away" not in str(caught.value)
        assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 10


def test_a_locked_database_is_to_be_waited_for(
    location: Location, ladder: Ladder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whc.registry.database.BUSY_LIMIT_S", 0.1)
    Registry(location).ladder_built(*ladder("m"))
    with closing(sqlite3.connect(location.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RegistryError, match=r"database is locked; close what else uses it .* or wait, then run"):
            Registry(location).resolve("whc_m")


def test_a_full_disk_is_to_be_freed(location: Location) -> None:
    with (
        pytest.raises(RegistryError, match="disk is full; free some disk space, then run this again"),
        as_registry_errors(location),
        closing(sqlite3.connect(location.database)) as opened,
    ):
        opened.execute("PRAGMA max_page_count = 1")
        opened.execute("CREATE TABLE more (text)")
        opened.executemany("INSERT INTO more VALUES (?)", [("x" * 10_000,)] * 100)

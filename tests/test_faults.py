"""What a search survives: each fault is the real one, done to a real search through the command line."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from pyarrow.fs import FileSelector, FileSystem, FileType, copy_files

from whc import records

pytestmark = pytest.mark.slow

WHC = [sys.executable, "-c", "from whc.cli import main; main()"]
NEW = ["search", "--space", "space.yaml", "--data", "data/dataset.parquet", "--json"]
TRIALS = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rendered data."""
    folder = tmp_path_factory.mktemp("rendered")
    subprocess.run([*WHC, "data", "synth", "--out", "data", "--clips", "30"], cwd=folder, check=True)
    return folder / "data"


@pytest.fixture
def folder(tmp_path: Path, data: Path, write_space: Callable[..., None]) -> Path:
    """A user's folder with rendered data and a space of trials of some seconds."""
    write_space(tmp_path, epochs=6)
    (tmp_path / "data").symlink_to(data)
    return tmp_path


class Search:
    """A search in its own process, killed when the context ends if it has not ended by then."""

    def __init__(
        self, folder: Path, *arguments: str, env: Mapping[str, str] | None = None, group: bool = False
    ) -> None:
        self.folder, self.arguments, self.env, self.group = folder, arguments, env, group

    def __enter__(self) -> Search:
        self._log = (self.folder / "log").open("a+")
        command = [*WHC, *self.arguments]
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.env,
            stdout=self._log,
            stderr=self._log,
            start_new_session=self.group,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()

    @property
    def told(self) -> str:
        """All that it has printed, with what searches before it printed here."""
        return (self.folder / "log").read_text()

    def until(self, happened: Callable[[], Any], seconds: float = 120) -> Any:
        """Wait for something while the search runs; gives what it was."""
        deadline = time.monotonic() + seconds
        while not (found := happened()):
            assert self.process.poll() is None, f"ended before: {self.told}"
            assert time.monotonic() < deadline, f"not in time: {self.told}"
            time.sleep(0.05)
        return found

    def end(self) -> int:
        """Wait for its end; gives the exit status."""
        return self.process.wait(timeout=300)


def result(folder: Path, *arguments: str) -> Any:
    """The JSON that a command prints."""
    done = subprocess.run([*WHC, *arguments, "--json"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ended(study: Path) -> dict[Path, int]:
    """When each trial that is over was put in place."""
    return {path: path.stat().st_mtime_ns for path in (study / "trials").glob("*/record.json")}


def optuna_states(study: Path) -> list[str]:
    """The trials' states as another reader of the journal sees them."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal = JournalStorage(JournalFileBackend(str(study / "optuna.journal")))
    return [trial.state.name for trial in optuna.load_study(study_name=study.name, storage=journal).trials]


def test_kill_9_at_any_moment(folder: Path) -> None:
    study, rng = folder / "runs" / "killed", random.Random(0)
    before: dict[Path, int] = {}
    for earliest in (4, 8, 12):  # seconds; a search that goes on takes some to start
        arguments = ["search", "--resume"] if study.exists() else [*NEW, "--study", "killed", "--trials", str(TRIALS)]
        with Search(folder, *arguments) as search:
            search.until((study / "optuna.journal").exists)
            seconds = earliest + rng.uniform(0, 4)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and search.process.poll() is None:
                time.sleep(0.01)
            search.process.kill()
        assert before.items() <= ended(study).items()  # nothing that was over is gone, or was run again
        before = ended(study)
    # What a kill at the worst moment leaves besides: a torn last line, and Optuna's lock file.
    (study / "optuna.journal").write_bytes((study / "optuna.journal").read_bytes()[:-7])
    (study / "optuna.journal.lock").touch()
    resumed = result(folder, "search", "--resume", "--study", "killed")
    assert resumed["complete"]
    assert sum(resumed["states"].values()) == TRIALS
    assert before.items() <= ended(study).items()
    assert len(ended(study)) == TRIALS
    states = optuna_states(study)
    assert "RUNNING" not in states
    assert states.count("COMPLETE") == resumed["states"]["finished"]


def training(search: Search) -> psutil.Process | None:
    """A worker of a search that trains: it has used some seconds of its core."""
    try:
        workers = psutil.Process(search.process.pid).children(recursive=True)
        return next((one for one in workers if one.name().startswith("ray::Impl") and one.cpu_times().user > 4), None)
    except psutil.NoSuchProcess:
        return None


def test_a_killed_worker_costs_no_trial(folder: Path, write_space: Callable[..., None]) -> None:
    write_space(folder, epochs=40)
    with Search(folder, *NEW, "--study", "orphaned") as search:
        search.until(lambda: training(search)).kill()
        assert search.end() == 0, search.told
    over = list(records.trial_records(folder / "runs" / "orphaned"))
    assert len(over) == 3
    assert {one.state for one in over} <= {"finished"}


def test_ctrl_c_twice(folder: Path) -> None:
    study = folder / "runs" / "interrupted"
    with Search(folder, *NEW, "--study", "interrupted", "--trials", str(TRIALS)) as search:
        search.until(lambda: list((study / "trials").glob("*/*.json")))
        search.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        search.process.send_signal(signal.SIGINT)
        assert search.end() == 130, search.told
        assert "Traceback" not in search.told
        assert "interrupted" in search.told
    before = ended(study)
    resumed = result(folder, "search", "--resume", "--study", "interrupted")
    assert sum(resumed["states"].values()) == TRIALS
    assert before.items() <= ended(study).items()
    assert "RUNNING" not in optuna_states(study)


def test_the_whole_group_is_ended(folder: Path) -> None:
    """As `timeout` does: Ray, which handles this signal too, must be there until the search has ended."""
    study = folder / "runs" / "ended"
    with Search(folder, *NEW, "--study", "ended", "--trials", "99", group=True) as search:
        search.until(lambda: list((study / "trials").glob("*/*.json")))
        os.killpg(search.process.pid, signal.SIGTERM)
        assert search.end() == 128 + signal.SIGTERM, search.told
        assert "Traceback" not in search.told
        assert "what had ended is kept" in search.told
        assert "interrupted" in search.told
    before = ended(study)
    resumed = result(folder, "search", "--resume", "--study", "ended", "--trials", str(max(3, len(before))))
    assert resumed["complete"]
    assert before.items() <= ended(study).items()


@pytest.fixture(scope="module")
def searched(data: Path, write_space: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that has ended and has a table."""
    folder = tmp_path_factory.mktemp("searched")
    write_space(folder, epochs=2)
    recipe = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(f"{recipe}refit: {{seeds: 1, epochs: 1, candidates: 2}}\n")
    (folder / "data").symlink_to(data)
    result(folder, *NEW[:-1], "--study", "built")
    result(folder, *BUILD)
    return folder


BUILD = ["factory", "build-table", "--study", "built", "--no-register"]
ENDS = [
    (signal.SIGKILL, "training again"),
    (signal.SIGKILL, "export and parity"),
    (signal.SIGKILL, "timing"),
    (signal.SIGTERM, "timing"),
    (signal.SIGKILL, "scoring"),
    (signal.SIGHUP, "drawing"),
    (signal.SIGKILL, "handing the ladder on"),
]


def test_build_table_is_ended_at_any_moment(searched: Path) -> None:
    study, rng = searched / "runs" / "built", random.Random(0)
    trials, whole = ended(study), scores(study)
    for name in ("refit", "finished", "ladder"):
        shutil.rmtree(study / name)
    (study / "table.json").unlink()
    for number, stage in ENDS:
        (searched / "log").unlink(missing_ok=True)
        with Search(searched, *BUILD, group=True) as build:
            build.until(lambda build=build, stage=stage: f"\n{stage}" in build.told)
            time.sleep(rng.uniform(0, 0.2))
            build.process.send_signal(number)
            code = build.end()
            assert code in (0, -signal.SIGKILL, 128 + number), build.told
            assert "Traceback" not in build.told
        assert ended(study) == trials
        consistent(study)
    (session,) = (study / "finished").glob("*.json")
    timed_at = session.stat().st_mtime_ns
    table = result(searched, *BUILD)
    assert scores(study) == whole
    assert session.stat().st_mtime_ns == timed_at  # what was timed is not timed again
    consistent(study)
    assert [path for path in study.rglob(".*tmp*") if path.is_file()] == []
    assert not list(study.glob(".ladder*"))
    assert result(searched, *BUILD) == table


def scores(study: Path) -> dict[str, float]:
    """The validation score of each candidate of a table."""
    table = json.loads((study / "table.json").read_text())
    return {row["trial_id"]: row["val_score"] for row in (*table["variants"], *table["left_out"])}


def consistent(study: Path) -> None:
    """Where there is a table its files are there, of the size that it says."""
    if (study / "table.json").is_file():
        for row in json.loads((study / "table.json").read_text())["variants"]:
            assert (study / row["file"]).stat().st_size == row["size_bytes"]


def test_two_searches_of_one_name(folder: Path) -> None:
    with Search(folder, *NEW, "--study", "same") as search:
        search.until((folder / "runs" / "same" / "study.yaml").exists)
        for again in ([*NEW, "--study", "same"], ["search", "--resume", "--study", "same"]):
            other = subprocess.run([*WHC, *again], cwd=folder, capture_output=True, text=True, check=False)
            assert other.returncode == 1
            (line,) = other.stderr.splitlines()
            assert str(Path("runs", "same")) in line


FILL = """
set -e
mkdir -p runs
mount -t tmpfs -o size=16m whc runs
(while ! ls runs/full/trials/*/*.json; do sleep 0.1; done; dd if=/dev/zero of=runs/filler bs=4k) >&2 2>/dev/null &
"$@" && exit 99 || echo $? > first
rm runs/filler
ls runs/full/trials/*/*.json | wc -l > kept
"$0" -c 'from whc.cli import main; main()' search --resume --study full --json > resumed
"""


def may_mount() -> bool:
    """Whether a file system of one's own can be mounted, in a namespace that only its processes see."""
    unshare = shutil.which("unshare")
    return bool(unshare) and subprocess.run([unshare, "-rm", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="needs Linux's user namespaces, to mount a small disk")
def test_a_full_disk(folder: Path) -> None:
    search = [*WHC, *NEW, "--study", "full", "--trials", str(TRIALS)]
    command = ["unshare", "-rm", "sh", "-c", FILL, sys.executable, *search]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "first").read_text() == "1\n"
    assert "the disk must have room for trials" in done.stderr
    assert "free some, then `whc search --resume --study full`" in done.stderr
    assert "Traceback" not in done.stderr
    resumed = json.loads((folder / "resumed").read_text())
    assert resumed["complete"]
    assert sum(resumed["states"].values()) == TRIALS
    assert 1 <= int((folder / "kept").read_text()) < TRIALS
    # What had been reached was gone on from, not begun anew.
    assert resumed["states"].get("failed", 0) == 0


class Machine:
    """A machine as far as Ray can tell: a home and a temporary folder of its own. All that runs there ends with it."""

    def __init__(self, name: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))  # Ray's sockets want a short path
        binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = {**ours, "HOME": str(self.home), "RAY_TMPDIR": str(self.home), "PATH": binaries}

    def run(self, *commands: str) -> None:
        """Run commands in a shell; what they export stays for those to come."""
        for command in commands:
            if command.startswith("export "):
                self.environment |= dict(pair.split("=") for pair in command.split()[1:])
        shell = ["bash", "-ec", "\n".join(commands)]
        done = subprocess.run(shell, env=self.environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def off(self) -> None:
        """As when its power fails."""
        for process in psutil.process_iter():
            try:
                if process.environ().get("HOME") == str(self.home):
                    process.kill()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                pass


def on_several_machines(port: int) -> dict[str, list[str]]:
    """README's commands, by where it says to run them: `on one`, `on each`, `on the others`."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    _, block, *_ = readme[readme.index("**On several machines**") :].split("```")
    places: dict[str, list[str]] = {}
    for line in block.strip().splitlines():
        command, _, where = line.partition("#")
        place = next(place for place in ("on one", "on each", "on the others") if where.strip().startswith(place))
        command = command.strip().replace("HOST:6379", f"127.0.0.1:{port}")
        command = command.replace("ray start --head", f"ray start --head --port {port}")
        places.setdefault(place, []).append(f"{command} --num-cpus 1" if "ray start" in command else command)
    return places


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    """Two machines with nothing on them."""
    both = Machine("one"), Machine("two")
    try:
        yield both
    finally:
        for machine in both:
            machine.off()
            shutil.rmtree(machine.home, ignore_errors=True)


def test_readme_on_several_machines(
    object_store: str, machines: tuple[Machine, Machine], folder: Path, tmp_path: Path
) -> None:
    """README's commands start a cluster with authentication, and when a machine of it goes no trial is lost.

    Neither driver nor workers look into each other's folders: they meet in an object store.
    """
    first, second = machines
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = on_several_machines(port)
    token, head, search = places["on one"]
    first.run(token, *places["on each"], head)
    (second.home / ".ray").mkdir()
    shutil.copy(first.home / ".ray" / "auth_token", second.home / ".ray")
    second.run(*places["on each"], *places["on the others"])

    assert first.environment["RAY_AUTH_MODE"] == "token"

    asked = search.replace("--space smile", "--space space.yaml").replace(
        "smile/dataset.parquet", "data/dataset.parquet"
    )
    program, *remote = shlex.split(asked.replace("s3://bucket/whc", object_store))
    assert program == "whc"

    def whc(machine: Machine, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        environment = {**machine.environment, **changes}
        command = [*WHC, *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    stranger = whc(first, *remote, "--study", "far", HOME=str(tmp_path))
    assert stranger.returncode == 2
    (line,) = stranger.stderr.splitlines()
    assert f"token is at hand (there is no {tmp_path}/.ray/auth_token), got '127.0.0.1:{port}'; copy the head's" in line
    assert "RAY_AUTH_TOKEN_PATH, and set RAY_AUTH_MODE=token" in line
    alone = whc(first, *remote[: remote.index("--storage")], "--study", "far")
    assert alone.returncode == 2
    assert "--storage: required where the cluster has several nodes, got None; give " in alone.stderr
    assert not (folder / "runs" / "far").exists()
    own = whc(first, *NEW, "--study", "own", "--trials", "1", RAY_ADDRESS=f"127.0.0.1:{port}")
    assert own.returncode == 0, own.stderr

    store, path = FileSystem.from_uri(object_store)
    left = FileSelector(f"{path}/far/trials", recursive=True, allow_not_found=True)

    def there() -> set[str]:
        """What workers have left, `00000/record.json`."""
        found = store.get_file_info(left)
        return {str(one.path).removeprefix(f"{left.base_dir}/") for one in found if one.type == FileType.File}

    with Search(folder, *remote, "--study", "far", "--trials", str(TRIALS), env=first.environment) as running:
        running.until(lambda: any(name.endswith(".json") for name in there()))
        second.off()
        assert running.end() == 0, running.told
    here = list(records.trial_records(folder / "runs" / "far"))
    assert [one.trial_id for one in here] == [f"{number:05d}" for number in range(TRIALS)]
    assert {one.state for one in here} <= {"finished"}
    assert there() == {f"{one.trial_id}/{name}" for one in here for name in ("record.json", *one.files)}
    copy_files(left.base_dir, str(tmp_path / "copy" / "trials"), source_filesystem=store)
    stored = sorted((tmp_path / "copy" / "trials").glob("*/record.json"))
    assert [records.load_trial(path, "far") for path in stored] == here
    for machine in machines:
        assert not (machine.home / ".cache" / "Microsoft").exists()


def test_a_cluster_that_does_not_answer_is_told_at_once(folder: Path) -> None:
    start = time.monotonic()
    command = [*WHC, *NEW, "--address", "127.0.0.1:9"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "--address: must be a Ray cluster that can be reached (" in line
    assert "got '127.0.0.1:9'; start one with `ray start --head`, or leave it out" in line
    assert time.monotonic() - start < 30
    assert not (folder / "runs").exists() or not list((folder / "runs").iterdir())  # no study has begun


def test_a_timer_that_goes_away_and_comes_back(folder: Path, start_timer: Callable[..., Any]) -> None:
    timer = start_timer("openvino")
    on_it = ("--study", "timed", "--time-on", timer.address)
    token = {"WHC_TIMER_TOKEN": timer.TOKEN}
    study = folder / "runs" / "timed"
    with Search(folder, *NEW, *on_it, "--trials", "3", env=os.environ | token) as search:
        search.until((study / "optuna.journal").exists)
        timer.end()
        search.until(lambda: f"the search waits: timer {timer.address}: must answer, got: " in search.told)
        start_timer("openvino", timer.port)
        assert search.end() == 0, search.told
        assert "the timer is back: the search goes on" in search.told
    assert {one.state for one in records.trial_records(study)} <= {"finished"}
    about = records.StudyRecord.load(study)
    assert about.timer == records.TimerRecord(address=timer.address, runtime={"openvino": {"threads": 1}})
    latencies = [one.latency for one in records.trial_records(study) if one.latency]
    assert {(latency.runtime, latency.host) for latency in latencies} == {("openvino", about.host)}

    forgotten = subprocess.run(
        [*WHC, "search", "--resume", "--study", "timed"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert forgotten.stderr.startswith(
        f"error: timed: timer: must be named again, as it times on {about.host}, got None; "
    )
    built = [*WHC, "factory", "build-table", *on_it, "--no-register", "--json"]
    done = subprocess.run(built, cwd=folder, env=os.environ | token, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    assert table["host"] == about.host
    assert {row["runtime"] for row in table["variants"]} == {"openvino"}

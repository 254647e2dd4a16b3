"""What the packages leave on disk for each other: trial records, table rows, ONNX metadata, and who may listen.

Search and factory never call each other or the registry; they meet here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from whc import __version__
from whc.config import dump_yaml, load_yaml, validate
from whc.errors import ArtifactError, StudyError, UsageError, problem

SCHEMA = 1
TABLE_SCHEMA = 2  # 2: scores on test may be null; test_split and constant_val_f1 are new
NO_TEST_SPLIT = "no test split"
UNTESTED = f"{NO_TEST_SPLIT}: nothing was scored on test; validation chose, so expect a lower F1 on new data"
State = Literal["finished", "stopped", "infeasible", "failed", "waiting"]  # the last one is not over


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CurvePoint(_Record):
    """Validation F1 after an epoch (counted from 1), and the seconds that epoch took."""

    epoch: int
    val_f1: float
    seconds: float


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


class Latency(_Record):
    """Time of one forward pass at batch 1.

    `ms` is normalised: the median ratio to the reference network, `ratio`, times the reference's idle milliseconds on
    the host; it compares across sessions. `p50_ms`, `p90_ms` and `p99_ms` are as the clock had it then and there. Each
    `_low`..`_high` is the 95 % interval of its median. `noisy`: the machine was too busy to believe any of it.
    """

    ms: float
    low_ms: float
    high_ms: float
    p90_ms: float
    p99_ms: float
    ratio: float
    runtime: str
    threads: int
    host: str
    # Records of old have none of these.
    ratio_low: float = Field(default_factory=lambda data: data["ratio"] * _share(data["low_ms"], data["ms"]))
    ratio_high: float = Field(default_factory=lambda data: data["ratio"] * _share(data["high_ms"], data["ms"]))
    p50_ms: float = Field(default_factory=lambda data: data["ms"])
    p50_low_ms: float = Field(default_factory=lambda data: data["low_ms"])
    p50_high_ms: float = Field(default_factory=lambda data: data["high_ms"])
    noisy: bool = False

    def scaled(self, reference_ms: float) -> Self:
        """The same latency in milliseconds of a host on which the idle reference network takes `reference_ms`."""
        changed = {"ms": self.ratio, "low_ms": self.ratio_low, "high_ms": self.ratio_high}
        return self.model_copy(update={name: ratio * reference_ms for name, ratio in changed.items()})


class IdleReference(_Record):
    """Milliseconds of the reference network on an idle host, the least of all sessions there."""

    host: str
    runtime: str
    ms: float = Field(gt=0)


class Footprint(_Record):
    """What the exported file of an architecture comes to, whatever its weights: its size and its latency."""

    size_bytes: int
    latency: Latency


class TimedFile(_Record):
    """A file and its latency. `ratio_to_first` compares it with the first file of its session, round by round."""

    path: str
    sha256: str
    latency: Latency
    ratio_to_first: float
    ratio_to_first_low: float
    ratio_to_first_high: float


class FailedFile(_Record):
    """A file that could not be timed, and why; `sha256` is empty when it could not even be read."""

    path: str
    sha256: str
    reason: str


class LatencySession(_Record):
    """Files timed together, as `whc bench` tells it and keeps it for a table of latencies measured on a device.

    `aa_ratio` is the reference network against itself: 1, but for the noise of the machine.
    """

    schema_version: int = Field(SCHEMA, alias="schema", le=SCHEMA)
    host: str
    runtime: str
    threads: int
    reference_ms: float
    noisy: bool
    aa_ratio: float
    aa_low: float
    aa_high: float
    files: list[TimedFile]
    failed: list[FailedFile]

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def shown_test_score(score: float | None) -> str:
    """A score on the test split as people read it: in words where there is no test split (None)."""
    return NO_TEST_SPLIT if score is None else f"{score:.4f}"


class TrialRecord(_Record):
    """One trial: `record.json` in its folder. The trial is over when this file is renamed into place.

    `drawn` holds what the sampler drew, by dotted key; `config` is the whole configuration that came of it. `before_s`
    counts the seconds before training (export, latency); `elapsed_s` those of searching until the trial ended, pauses
    of the whole search left out.
    """

    schema_version: int = Field(SCHEMA, alias="schema", le=SCHEMA)
    trial_id: str
    study: str
    config: dict[str, Any]
    config_hash: str
    drawn: dict[str, Any] = {}
    state: State
    reason: str = ""
    curve: list[CurvePoint] = []
    val_f1: float | None = None
    latency: Latency | None = None
    size_bytes: int | None = None
    params: int | None = None
    peak_memory_bytes: int | None = None
    before_s: float = 0.0
    elapsed_s: float = 0.0
    seed: int
    data_fingerprint: str
    code_version: str
    files: dict[str, str] = {}

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class VariantRow(_Record):
    """A row of `table.json`: a named variant with its evidence. `onnx` is relative to the study's folder.

    `f1` is of the test split, `f1_low`..`f1_high` its 95 % interval from a bootstrap by group, `f1_rotated` the same
    score with the pictures turned by so many degrees; all None without a test split. `val_f1` chose the variant;
    `seeds` holds that of every training of it, by seed. `latency_ratio` is to the reference network: what compares
    with other sessions and studies (None in tables of old).
    """

    name: str
    f1: float | None
    f1_low: float | None
    f1_high: float | None
    f1_rotated: dict[str, float | None]
    val_f1: float
    seeds: dict[str, float]
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    latency_ratio: float | None = None
    size_bytes: int
    params: int
    runtime: str
    onnx: str
    config: dict[str, Any]
    trial_id: str
    notes: list[str] = []

    @property
    def ratio_shown(self) -> str:
        """Latency over the reference network's, as people read it."""
        return "unknown" if self.latency_ratio is None else f"{self.latency_ratio:.3f}"


class LeftOut(_Record):
    """A candidate that did not become a variant, and why."""

    trial_id: str
    val_f1: float
    latency_ms: float
    reason: str


class LadderTable(_Record):
    """`table.json`: the ladder of one study, fastest variant first.

    `host` is where latency was measured; `aa_ratio` is that of the reference network against itself, 1 but for noise;
    `noisy`: the machine was too busy to believe the latencies. `test_split`: whether there is one to score on.
    `constant_f1` is what the constant predictor scores on it (None without), `constant_val_f1` on validation (None in
    tables of old). Neighbours are told apart with the recipe's `confidence`; `variants_at_95` counts those that would
    be left at 95 %.
    """

    schema_version: int = Field(TABLE_SCHEMA, alias="schema", le=TABLE_SCHEMA)
    study: str
    prefix: str
    task: str
    labels: list[str]
    data_fingerprint: str
    code_version: str
    host: str
    noisy: bool
    aa_ratio: float
    test_split: bool = True
    constant_f1: float | None
    constant_val_f1: float | None = None
    confidence: float
    variants_at_95: int
    variants: list[VariantRow]
    left_out: list[LeftOut] = []

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @property
    def constant_shown(self) -> tuple[float, str]:
        """What the constant predictor scores, and on which split: validation where there is no test split."""
        score, split = (self.constant_f1, "test") if self.test_split else (self.constant_val_f1, "validation")
        return math.nan if score is None else score, split


class ModelMetadata(_Record):
    """What an exported file says of itself, each field a `whc.` property of the ONNX model.

    `height` and `width` are in pixels, `frames` counts the frames of one input, `frame_rate` is in frames a second
    (None: every frame of the stream), `threshold` is the least probability called `positive`, which is empty for three
    labels and more.
    """

    schema_version: int = Field(SCHEMA, alias="schema")
    task: str
    labels: list[str]
    positive: str
    layout: str
    frames: int
    frame_rate: float | None
    height: int
    width: int
    resize: str
    interpolation: str
    threshold: float
    study: str = ""
    trial: str = ""
    data_fingerprint: str
    code_version: str

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def to_properties(self) -> dict[str, str]:
        """ONNX metadata properties: text as it is, everything else as JSON."""
        fields = self.model_dump(by_alias=True)
        return {
            f"whc.{key}": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in fields.items()
        }

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], source: str) -> ModelMetadata:
        """Read the properties of an ONNX model.

        Raises:
            ArtifactError: the file was not exported by whc, or by a newer one.
        """
        ours = {key.removeprefix("whc."): value for key, value in properties.items() if key.startswith("whc.")}
        if not ours:
            raise ArtifactError(f"{source}: must carry whc's metadata, got none; export it with `whc export`")
        text_fields = {name for name, field in cls.model_fields.items() if field.annotation is str}
        try:
            # Before anything else: a newer whc may write fields of other kinds.
            schema = json.loads(ours.get("schema", "0"))
            if not isinstance(schema, int) or schema > SCHEMA:
                raise ArtifactError(problem(source, f"metadata schema must be at most {SCHEMA}", schema, "upgrade whc"))
            decoded = {key: value if key in text_fields else json.loads(value) for key, value in ours.items()}
            return cls.model_validate(decoded)
        except (ValueError, RecursionError) as error:  # pydantic's and json's, and numbers of thousands of digits
            reason = str(error).splitlines()[0]
            raise ArtifactError(f"{source}: whc's metadata is damaged ({reason}); export the model again") from error


class SearchObserver(Protocol):
    """Told about a search by its driver, and only by it."""

    def study_started(self, study: str, description: Mapping[str, Any]) -> None:
        """Called once before the first trial; `description` is the resolved study.yaml."""

    def trial_waits(self, record: TrialRecord) -> None:
        """Called each time that a trial has come to a rung, with its curve so far."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Called once for each trial, when its record is in place."""

    def study_ended(self, study: str, folder: Path) -> None:
        """Called when the search stops, finished or not."""


class LadderObserver(Protocol):
    """Told about a ladder once its table is on disk."""

    def ladder_built(self, table: LadderTable, folder: Path) -> Sequence[str]:
        """Take over the variants in `folder`; returns a line to print for each."""


AnyRecord = TypeVar("AnyRecord", bound=_Record)


def write_atomic(path: Path, text: str) -> None:
    """Write a file so that a reader sees either nothing or all of it, even after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def sha256(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(record: _Record, path: Path) -> None:
    """Write a record as JSON, atomically."""
    write_atomic(path, record.model_dump_json(by_alias=True, indent=1) + "\n")


def load(kind: type[AnyRecord], path: Path) -> AnyRecord:
    """Read a record.

    Raises:
        StudyError: the file is missing or is not such a record.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StudyError(f"{path}: must be readable, got {error.strerror}; is this a study's folder?") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ": ".join(filter(None, (str(path), ".".join(map(str, first["loc"])))))
        next_step = "upgrade whc" if first["loc"] == ("schema",) else "delete the file and use --resume"
        raise StudyError(f"{where}: {first['msg']}; {next_step}") from error


def trial_records(study_folder: Path) -> Iterator[TrialRecord]:
    """Records of all trials that are over, in order of trial id."""
    for path in sorted((study_folder / "trials").glob("*/record.json")):
        yield load(TrialRecord, path)


def code_version() -> str:
    """Version of whc, with the commit when it runs from a checkout."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return __version__
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+{done.stdout.strip()}"


class StudyRecord(_Record):
    """`study.yaml`: a search as resolved when it began; `--resume` and the factory start from it.

    `space` is the space as written; `data` the path of the data set, from the project's folder (the one of `runs/`)
    where it lies in the project, so that a moved or copied project has its own; `reference_ms` the reference network's
    milliseconds on `host` when idle; `limits` are per name (`latency_ms`, `size_bytes`, `params`); `constant_f1` is
    what the constant predictor scores on the validation split. `sampler`, `scheduler`, `drop_slower`, `minutes` and
    `patience` are those of the search file, `warm_start` the studies that the sampler learnt from before; `storage` is
    where workers leave trials when they share no folder with the driver.
    """

    study: str
    space_name: str
    space: dict[str, Any]
    data: str
    data_fingerprint: str
    recipe: str
    trials: int
    workers: int
    runtime: str | dict[str, Any]
    limits: dict[str, float]
    seed: int
    reference_ms: float
    constant_f1: float
    host: str
    code_version: str
    sampler: str = "auto"
    scheduler: dict[str, int] = {}
    drop_slower: float | None = None
    minutes: float | None = None
    patience: int | None = None
    warm_start: list[str] = []
    storage: str | None = None

    def save(self, folder: Path) -> None:
        """Write study.yaml."""
        write_atomic(folder / "study.yaml", dump_yaml(self.model_dump(mode="json")))

    @classmethod
    def load(cls, folder: Path) -> StudyRecord:
        """Read study.yaml; raises UsageError when it is damaged."""
        path = folder / "study.yaml"
        return validate(cls, load_yaml(path), str(path))

    def data_path(self, folder: Path) -> Path:
        """Where the data set is now, seen from the study's folder."""
        project, stored = _project(folder), Path(self.data)
        path = project / stored
        if path.exists():
            return path
        # A whole path, stored before the project was moved: its end may still be right.
        ends = (project.joinpath(*stored.parts[first:]) for first in range(1, len(stored.parts)))
        return next((end for end in ends if end.exists()), path)


def data_name(data: Path, folder: Path) -> str:
    """How the study.yaml in `folder` names a data set."""
    project = _project(folder)
    for path, base in ((data.absolute(), project), (data.resolve(), project.resolve())):
        if path.is_relative_to(base) and ".." not in path.parts:
            return str(path.relative_to(base))
    return str(data.resolve())


def _project(folder: Path) -> Path:
    return folder.absolute().parent.parent


def study_folder(runs: Path, name: str) -> Path:
    """The folder of a study, never outside `runs`.

    Raises:
        UsageError: the name holds anything but letters, digits, `_`, `-` and `.`, or starts with `.`.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}", name):
        rule = "must be letters, digits, '_', '-' and '.' (64 at most)"
        raise UsageError(problem("study name", rule, name, "choose another name"))
    return runs / name


def existing_study(runs: Path, name: str | None) -> Path:
    """The folder of a study that has begun; the newest when no name is given.

    Raises:
        StudyError: there is no such study; the message lists those there are.
    """
    found = sorted(runs.glob("*/study.yaml"), key=lambda path: path.stat().st_mtime)
    if name is None:
        if not found:
            raise StudyError(f"{runs}: must hold a study, got none; run `whc search --space search_spaces/tiny.yaml`")
        return found[-1].parent
    folder = study_folder(runs, name)
    if not (folder / "study.yaml").is_file():
        known = ", ".join(path.parent.name for path in found) or "none"
        raise StudyError(problem(str(runs), "no such study", name, f"studies here: {known}"))
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a study's folder for this process alone.

    Raises:
        StudyError: another process holds it.
    """
    lock = FileLock(folder / "lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise StudyError(
            f"{folder}: must not be in use, got a running search or build; wait for it or stop it"
        ) from error

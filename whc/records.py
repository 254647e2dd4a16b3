"""What the packages leave on disk for each other: trial records, table rows, ONNX metadata, and who may listen.

Search and factory never call each other or the registry; they meet here.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any, Literal, Protocol, Self, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from whc import __version__
from whc.config import dump_yaml, fingerprint, load_yaml, validate
from whc.errors import ArtifactError, StudyError, UsageError, problem
from whc.files import replacing
from whc.plugins import Choice, ChoiceOf

SCHEMA = 1
TABLE_SCHEMA = 2  # 2: scores on test may be null; test_split and constant_val_f1 are new
NO_TEST_SPLIT = "no test split"
UNTESTED = f"{NO_TEST_SPLIT}: nothing was scored on test; validation chose, so expect a lower F1 on new data"
State = Literal["finished", "stopped", "infeasible", "failed", "waiting"]  # the last one is not over
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]  # milliseconds, ratios
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]  # scores
Seconds = Annotated[float, Field(allow_inf_nan=False)]  # below 0 where the clock was set back
Count = Annotated[int, Field(ge=0)]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")]  # leads nowhere else
SamplerName = Literal["auto", "tpe", "nsga2", "gp", "random"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CurvePoint(_Record):
    """Validation F1 after an epoch (counted from 1), and the seconds that epoch took."""

    epoch: int = Field(ge=1)
    val_f1: Share
    seconds: Seconds


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


class Latency(_Record):
    """Time of one forward pass at batch 1.

    `ms` is normalised: the median ratio to the reference network, `ratio`, times the reference's idle milliseconds on
    the host; it compares across sessions. `p50_ms`, `p90_ms` and `p99_ms` are as the clock had it then and there. Each
    `_low`..`_high` is the 95 % interval of its median. `noisy`: the machine was too busy to believe any of it.
    """

    ms: Positive
    low_ms: Positive
    high_ms: Positive
    p90_ms: Positive
    p99_ms: Positive
    ratio: Positive
    runtime: str
    threads: int
    host: str
    # Records of old have none of these.
    ratio_low: Positive = Field(default_factory=lambda data: data["ratio"] * _share(data["low_ms"], data["ms"]))
    ratio_high: Positive = Field(default_factory=lambda data: data["ratio"] * _share(data["high_ms"], data["ms"]))
    p50_ms: Positive = Field(default_factory=lambda data: data["ms"])
    p50_low_ms: Positive = Field(default_factory=lambda data: data["low_ms"])
    p50_high_ms: Positive = Field(default_factory=lambda data: data["high_ms"])
    noisy: bool = False

    def scaled(self, reference_ms: float) -> Self:
        """The same latency in milliseconds of a host on which the idle reference network takes `reference_ms`."""
        changed = {"ms": self.ratio, "low_ms": self.ratio_low, "high_ms": self.ratio_high}
        return self.model_copy(update={name: ratio * reference_ms for name, ratio in changed.items()})


class IdleReference(_Record):
    """Milliseconds of the reference network on an idle host, the least of all sessions there."""

    host: str
    runtime: str
    ms: Positive


class Footprint(_Record):
    """What the exported file of an architecture comes to, whatever its weights: its size and its latency."""

    size_bytes: Count
    latency: Latency


class TimedFile(_Record):
    """A file and its latency. `ratio_to_first` compares it with the first file of its session, round by round."""

    path: str
    sha256: str
    latency: Latency
    ratio_to_first: Positive
    ratio_to_first_low: Positive
    ratio_to_first_high: Positive


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
    reference_ms: Positive
    noisy: bool
    aa_ratio: Positive
    aa_low: Positive
    aa_high: Positive
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
    trial_id: FolderName
    study: FolderName
    config: dict[str, Any]
    config_hash: str
    drawn: dict[str, Any] = {}
    state: State
    reason: str = ""
    curve: list[CurvePoint] = []
    val_f1: Share | None = None
    latency: Latency | None = None
    size_bytes: Count | None = None
    params: Count | None = None
    peak_memory_bytes: Count | None = None
    before_s: Seconds = 0.0
    elapsed_s: Seconds = 0.0
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
    onnx: str = Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")
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


MEND_RECORD = "delete the file and use --resume"

AnyRecord = TypeVar("AnyRecord", bound=_Record)


def write_atomic(path: Path, text: str) -> None:
    """Write a file so that a reader sees either nothing or all of it, even after a crash."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(record: _Record, path: Path) -> None:
    """Write a record as JSON, atomically."""
    write_atomic(path, record.model_dump_json(by_alias=True, indent=1) + "\n")


def load(kind: type[AnyRecord], path: Path, next_step: str = MEND_RECORD) -> AnyRecord:
    """Read a record.

    Args:
        kind: what the file must hold.
        path: of the file.
        next_step: what to do about a damaged one.

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
        shown = shorten(repr(first["input"]), 60) if first["type"] != "json_invalid" and first["loc"] else ""
        got = f", got {shown}" if shown else ""
        next_step = "upgrade whc" if first["loc"] == ("schema",) else next_step
        raise StudyError(f"{where}: {first['msg']}{got}; {next_step}") from error


def trial_records(study_folder: Path) -> Iterator[TrialRecord]:
    """Records of all trials that are over, in order of trial id.

    Raises:
        StudyError: a record is damaged, or not what a trial of this study leaves.
    """
    study = StudyRecord.load(study_folder).study
    for path in sorted((study_folder / "trials").glob("*/record.json")):
        yield load_trial(path, study)


def load_trial(path: Path, study: str) -> TrialRecord:
    """Read what a trial left, and check that it belongs where it lies and that nothing in it is missing or changed.

    Args:
        path: record.json, or rung.json of a trial that waits, in the trial's folder.
        study: that the trial is of.

    Raises:
        StudyError: it is missing, damaged, or not what such a trial leaves.
    """
    record = load(TrialRecord, path)
    place, state = path.parent.name, record.state
    has_trained, waits = state in ("finished", "waiting"), state == "waiting"
    rules: tuple[tuple[str, object, object, str], ...] = (
        ("trial_id", record.trial_id, record.trial_id == place, f"must be {place!r}, as its folder"),
        ("study", record.study, record.study == study, f"must be {study!r}, as in study.yaml"),
        ("state", state, waits == (path.name != "record.json"), "must be 'waiting' in rung.json and nowhere else"),
        ("config", record.config_hash, fingerprint(record.config) == record.config_hash, "must be what its hash is of"),
        ("curve", [], record.curve or not waits, "required of a trial that waits"),
        ("val_f1", None, record.val_f1 is not None or not has_trained, f"required of a trial that is {state}"),
        ("latency", None, record.latency or not (has_trained or record.curve), "required of a trial that has trained"),
    )
    for field, got, is_kept, rule in rules:
        if not is_kept:
            raise StudyError(problem(f"{path}: {field}", rule, got, MEND_RECORD))
    return record


def code_version() -> str:
    """Version of whc, with the commit when it runs from a checkout."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return __version__
    # Not `describe --dirty`: it writes Git's index, and whoever is killed meanwhile leaves it locked for ever.
    name = ("describe", "--always", "--abbrev=10")
    changes = ("--no-optional-locks", "status", "--porcelain", "--untracked-files=no")
    try:
        commit, changed = (_git(root, *arguments) for arguments in (name, changes))
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+{commit}{'-dirty' if changed else ''}"


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


class StudyRecord(_Record):
    """`study.yaml`: a search as resolved when it began; `--resume` and the factory start from it.

    `space` is the space as written; `data` the path of the data set, from the project's folder (the one of `runs/`)
    where it lies in the project, so that a moved or copied project has its own; `reference_ms` the reference network's
    milliseconds on `host` when idle; `limits` are per name (`latency_ms`, `size_bytes`, `params`); `constant_f1` is
    what the constant predictor scores on the validation split. `sampler`, `scheduler`, `drop_slower`, `minutes` and
    `patience` are those of the search file, `warm_start` the studies that the sampler learnt from before; `storage` is
    where workers leave trials when they share no folder with the driver.
    """

    study: FolderName
    space_name: str
    space: dict[str, Any]
    data: str
    data_fingerprint: str
    recipe: str
    trials: int = Field(ge=1)
    workers: int = Field(ge=1)
    runtime: str | dict[str, Any]
    limits: dict[str, Positive]
    seed: int = Field(ge=0)
    reference_ms: Positive
    constant_f1: Share
    host: str
    code_version: str
    sampler: SamplerName = "auto"
    scheduler: dict[str, int] = {}
    drop_slower: float | None = Field(None, gt=1)
    minutes: Positive | None = None
    patience: int | None = Field(None, ge=1)
    warm_start: list[FolderName] = []
    storage: str | None = None

    @property
    def chosen_runtime(self) -> Choice:
        """The runtime plug-in with its parameters.

        Raises:
            StudyError: there is none of that name, or its parameters are wrong.
        """
        try:
            return ChoiceOf("runtimes").parse(self.runtime)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise StudyError(f"study {self.study}: runtime: {reason}; put study.yaml back as it was") from error

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

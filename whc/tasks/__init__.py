"""Tasks: what is predicted; a file or a folder each, which defines `Config` and `TASK`, a subclass of `Task`.

Everything that depends on what is predicted is a method here: how rows and files are read, how networks learn, how
outputs are judged, compared and shown. A new task touches no file outside its own. Arrays of outputs and targets have
rows first: M outputs (M,) or (M, ...), M targets (M, ...). torch is needed by what learns and exports alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from whc import plugins
from whc.data.preprocess import Image, rotate
from whc.data.row_labels import RowLabels
from whc.errors import DataError, UsageError, problem
from whc.plugins import Choice, ChoiceOf, PluginConfig
from whc.records import Metric, ModelMetadata

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from whc.data.parquet import Reader
    from whc.data.sources import BuildConfig, SourceScan

TASKS = ChoiceOf("tasks")
DEFAULT_TASK = "classification"

Targets = NDArray[Any]
Outputs = NDArray[np.floating]
Colour = tuple[int, int, int]

GREEN: Colour = (90, 230, 120)
BLUE: Colour = (120, 180, 255)


class Judgement(Protocol):
    """What outputs are worth against targets, row by row."""

    def score(self, weights: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
        """The score 0..1 of all rows (), or (D,) for D weightings (D, M) of the rows, as a bootstrap draws them."""


@dataclass(frozen=True)
class Bar:
    """A share 0..1 to be drawn as a bar with its name; `tick` is where the decision turns, if anywhere."""

    name: str
    share: float
    tick: float | None = None


@dataclass(frozen=True)
class Line:
    """A line to be drawn: from and to in shares of the width and height looked at, x first."""

    start: tuple[float, float]
    end: tuple[float, float]
    colour: Colour


@dataclass(frozen=True)
class Reading:
    """One output as people see it; `colour` is that of title, bar and box."""

    title: str
    colour: Colour = BLUE
    bar: Bar | None = None
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Condition:
    """Pictures changed on purpose, to score a model on them too.

    `change` is done to a picture, uint8 (H, W, 3); `move` (2, 3) says where it takes a point: x to the right and y down
    from the centre, in pixels.
    """

    change: Callable[[Image], Image]
    move: NDArray[np.float64] = field(default_factory=lambda: np.eye(2, 3))


def turned(degrees: float) -> Condition:
    """Pictures turned about their centre, counterclockwise as seen."""
    angle = np.radians(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    return Condition(lambda picture: rotate(picture, degrees), np.array([[cos, sin, 0.0], [-sin, cos, 0.0]]))


Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""From what a network gives (N, ...) and the targets (N, ...) to a number to be made small."""


@dataclass(frozen=True)
class Task(ABC):
    """What is predicted, for some labels (none where a task has none) and parameters."""

    labels: tuple[str, ...]
    config: PluginConfig

    metric: ClassVar[Metric]
    example_rows: ClassVar[Mapping[str, Sequence[object]]]
    """Columns of labels as a small data set may have them."""
    example_metadata: ClassVar[Mapping[str, str]] = {}
    tolerance: ClassVar[float]
    """Largest difference of one output between two runtimes that compute the same."""
    required_columns: ClassVar[tuple[str, ...]] = ()
    """Columns of labels that a labelled data set must have, without an empty value."""
    needs_every_stratum: ClassVar[bool] = False
    """Whether every split must have rows of every stratum."""
    conditions: ClassVar[Mapping[str, Condition]] = {f"{degrees:+}": turned(degrees) for degrees in (-12, 12)}
    """Changes of the test pictures under which a ladder is scored too, by name."""

    # Rows.

    @classmethod
    @abstractmethod
    def label_readers(cls) -> Mapping[str, tuple[str, Reader]]:
        """Columns of a data set that hold labels: what each must be, in words, and how it is read."""

    @classmethod
    @abstractmethod
    def read_rows(cls, rows: pd.DataFrame, metadata: Mapping[str, str], source: str) -> RowLabels:
        """Targets (N, ...), labels and strata of a labelled data set.

        Args:
            rows: all rows, with the columns of `label_readers`, and `split`.
            metadata: of the data set, those that begin with `whc.`.
            source: what errors call the data set.

        Raises:
            DataError: labels are missing or contradict each other.
        """

    @abstractmethod
    def read_truth(self, rows: pd.DataFrame, source: str) -> Truth | None:
        """What rows say of themselves, in this task's labels; None where no row says anything.

        Raises:
            DataError: the rows have labels that this task does not know.
        """

    # Files.

    @classmethod
    def claims_files(cls, config: BuildConfig) -> bool:
        """Whether what `whc data build` is given, without a CSV, looks like this task's files."""
        del config
        return False

    @classmethod
    def scan_files(cls, config: BuildConfig) -> SourceScan:
        """The files that `whc data build` reads, with their labels: the pictures that a CSV names.

        Raises:
            DataError: the files are not as they must be.
            UsageError: the task has no other source than a CSV, and none is given.
        """
        from whc.data import labels_csv

        if config.csv is None:
            rule = "must be given, as this task's labels are in a CSV file"
            raise UsageError(problem("--csv", rule, None, "give the file that names the pictures"))
        return labels_csv.scan(config, cls)

    @classmethod
    @abstractmethod
    def parse_text(
        cls, rows: pd.DataFrame, labels: Sequence[str] | None, source: str
    ) -> tuple[pa.Table, Mapping[str, str]]:
        """Columns of labels as a data set holds them, from text, and the metadata that they need.

        Args:
            rows: the columns of `label_readers` that the file has, as text.
            labels: their order; None sorts them.
            source: what errors call the file.

        Raises:
            DataError: a text is no label; names the line.
        """

    def check_labels(self) -> str:
        """What labels must be where these are not; nothing where they are."""
        return ""

    # Learning.

    @property
    @abstractmethod
    def outputs(self) -> int:
        """How many numbers a network gives for each input."""

    @abstractmethod
    def objective(self, network: nn.Module, stratum_weights: Tensor, label_smoothing: float) -> Loss:
        """What training makes small.

        Args:
            network: the one that learns.
            stratum_weights: (S,) weight of each stratum, inverse to its rows in an epoch.
            label_smoothing: share of a target that goes to all answers evenly, where that makes sense.
        """

    def moved(self, targets: Tensor, moves: Tensor) -> Tensor:
        """Targets (N, ...) of pictures whose pixels were moved by `moves` (N, 2, 3), as `Condition.move`."""
        del moves
        return targets

    @abstractmethod
    def decoded(self, raw: Tensor) -> Tensor:
        """What a network gives (N, ...) as the exported output: no step of it may depend on the batch."""

    def finished(self, network: nn.Module) -> nn.Module:
        """The network with its decoding, as it is exported."""
        from whc.tasks.decoding import Decoded

        return Decoded(network, self.decoded)

    @property
    def graph_parameters(self) -> dict[str, Any]:
        """Those of the task's parameters that change the exported graph."""
        return self.config.model_dump(mode="json")

    @property
    @abstractmethod
    def output_name(self) -> str:
        """Name of the exported output."""

    @property
    @abstractmethod
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one exported output, without the batch."""

    # Judging.

    @abstractmethod
    def check_outputs(self, outputs: Outputs) -> str:
        """What is wrong with M outputs of the right shape, `rule, got value`; nothing where all may be believed."""

    @abstractmethod
    def judge(self, outputs: Outputs, targets: Targets) -> Judgement:
        """Hold M outputs against M targets."""

    def parts(self, outputs: Outputs, targets: Targets) -> Mapping[str, Judgement]:
        """What the score is made of, by name, each with a score of its own."""
        del outputs, targets
        return {}

    @abstractmethod
    def floor(self, targets: Targets) -> float:
        """The score of the best constant answer, which a useful model must beat."""

    def tuned(self, outputs: Outputs, targets: Targets) -> Self | None:
        """The task with the parameters that score best on these rows; None where there is nothing to tune."""
        del outputs, targets
        return None

    @abstractmethod
    def disagreement(self, ours: Outputs, theirs: Outputs) -> tuple[float, NDArray[np.bool_]]:
        """How two runtimes differ over B inputs: the largest difference, and whose answer has changed (B,).

        An answer that hangs on a difference within `tolerance` has not changed. NaN in one of them is infinitely far.
        """

    # People.

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Columns of a table of answers."""

    @abstractmethod
    def cells(self, output: Outputs) -> tuple[str, ...]:
        """One output as a row of that table."""

    @property
    def frame_columns(self) -> tuple[str, ...]:
        """Columns of a table of a stream's frames."""
        return self.columns

    def frame_cells(self, output: Outputs) -> tuple[str, ...]:
        """One output as a row of that table."""
        return self.cells(output)

    @property
    def headline_answers(self) -> tuple[str, ...]:
        """The answers that a summary in one line counts; none: all that were given."""
        return ()

    @abstractmethod
    def counted(self, outputs: Outputs) -> dict[str, int]:
        """How often each kind of answer was given, by its name."""

    @abstractmethod
    def reading(self, output: Outputs) -> Reading:
        """One output as it is drawn on its picture."""

    @abstractmethod
    def details(self, outputs: Outputs, targets: Targets) -> dict[str, Any]:
        """What else is worth telling of outputs, as JSON holds it."""

    def noteworthy(self, outputs: Outputs, targets: Targets) -> NDArray[np.int64]:
        """The rows whose pictures `draw` shows, a few at most."""
        del outputs, targets
        return np.empty(0, np.int64)

    @abstractmethod
    def draw(self, figure: Figure, outputs: Outputs, targets: Targets, pictures: Image | None) -> None:
        """Draw how outputs and targets agree, side by side in a figure of about 10 x 4.6 inches.

        `pictures` are those of the `noteworthy` rows, uint8 (K, H, W, 3), None where they are not at hand.
        """

    @property
    @abstractmethod
    def words(self) -> TaskWords:
        """What is said of the task on cards and tables."""

    def shown_floor(self, floor: float) -> str:
        """What the best constant answer scores, as a ladder's table says it; `on the test split` follows."""
        words = self.words.floor
        return f"{words[0].upper()}{words[1:]} scores {self.metric.shown(floor)}"


@dataclass(frozen=True)
class Truth:
    """What M rows say of themselves: targets (M, ...), whether each says anything (M,), and columns that show it."""

    targets: Targets
    is_known: NDArray[np.bool_]
    columns: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class TaskWords:
    """Phrases about a task on cards and tables.

    `purpose` follows `it`, `floor` precedes `scores`, `score` precedes `on the test split`, `conditions` follows
    `pictures`; `output` and `limit` are sentences without their point.
    """

    purpose: str
    score: str
    floor: str
    output: str
    limit: str
    conditions: str = "turned by -12 / +12 degrees"


def kind(name: str) -> type[Task]:
    """The task of a name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    return cast("type[Task]", plugins.load(TASKS.kind, name).TASK)


def recognised(columns: Sequence[str], source: str) -> type[Task]:
    """The task whose labels a data set has, by the names of its columns; classification where there are none.

    Raises:
        DataError: `source` has labels of several tasks.
    """
    readers = {name: kind(name).label_readers() for name in plugins.names(TASKS.kind)}
    labels = {name: [column for column in columns if column in readers[name]] for name in readers}
    matches = {name: label_columns for name, label_columns in labels.items() if label_columns}
    if len(matches) > 1:
        got = "; ".join(f"{', '.join(label_columns)} of {name}" for name, label_columns in matches.items())
        raise DataError(problem(source, "must have labels of one task", got, "name the task with --task"))
    return kind(next(iter(matches), DEFAULT_TASK))


def recognised_by_files(config: BuildConfig) -> type[Task]:
    """The task whose files `whc data build` is given; classification where no task claims them."""
    kinds = [kind(name) for name in plugins.names(TASKS.kind)]
    return next((task for task in kinds if task.claims_files(config)), kind(DEFAULT_TASK))


def metric_of(config: Mapping[str, Any]) -> Metric:
    """The metric of a trial's resolved configuration, as a record keeps it."""
    return kind(TASKS.parse(config["task"]).name).metric


def of_table(name: str, labels: Sequence[str]) -> Task:
    """A task with its parameters as they are by default: what is said of labels does not hang on them."""
    return build(TASKS.parse(name), labels)


def of_file(metadata: ModelMetadata) -> Task:
    """The task that an exported file is for.

    Raises:
        ValueError: this version has no such task, or the file's parameters of it are wrong.
    """
    return build(TASKS.parse({metadata.task: metadata.task_config}), metadata.labels)


def build(choice: Choice, labels: Sequence[str] | None) -> Task:
    """A task for some labels; None: those of its example, while no data set is known."""
    task = kind(choice.name)
    if labels is None:
        import pandas as pd

        empty = dict.fromkeys(task.label_readers().keys() - task.example_rows.keys())
        rows = pd.DataFrame(task.example_rows).assign(split="train", **empty)
        labels = task.read_rows(rows, task.example_metadata, "example").labels
    return task(tuple(labels), cast("PluginConfig", choice.config))

"""Tasks. Each task is a file or folder that defines `Config` and `TASK`, a subclass of `Task`.

Everything that depends on the task is a method here: how rows and files are read, how networks learn, how outputs are
scored, compared and shown. A new task changes no file outside its own. Arrays of outputs and targets have rows first:
M outputs (M,) or (M, ...), M targets (M, ...). Only methods for learning and export need torch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from whc import plugins, words
from whc.data.preprocess import Image
from whc.data.row_labels import RowLabels
from whc.errors import DataError, UsageError, problem
from whc.pages.thumbnails import Stroke
from whc.plugins import Choice, ChoiceOf, PluginConfig
from whc.records import Metric, ModelMetadata
from whc.tasks.answers import Answers
from whc.tasks.answers import Outputs as Outputs
from whc.tasks.conditions import Condition, turned_condition
from whc.tasks.showing import Mistake, TaskWords

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from whc.data.parquet import Reader
    from whc.data.sources import BuildConfig, SourceScan
    from whc.models.heads import Gives
    from whc.tasks.parts import Parts

TASK_CHOICES = ChoiceOf("tasks")
DEFAULT_TASK = "classification"

Targets = NDArray[Any]


class Judgement(Protocol):
    """The comparison of outputs with targets, from which scores are computed."""

    def score(self, weights: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
        """The score 0..1 of all rows (), or (D,) for D weightings (D, M) of the rows, as a bootstrap draws them."""


Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""Computes the loss, a scalar, from the raw outputs of a network (N, ...) and the targets (N, ...)."""


Decoder = Callable[["Tensor"], "Tensor"]
"""From what a network gives (N, ...) to outputs (N, ...), as they are exported."""


@dataclass(frozen=True)
class Task(Answers):
    """A task with its labels (empty if the task has none) and its parameters."""

    config: PluginConfig

    metric: ClassVar[Metric]
    example_rows: ClassVar[Mapping[str, Sequence[object]]]
    """Label columns of a small example data set."""
    example_metadata: ClassVar[Mapping[str, str]] = {}
    tolerance: ClassVar[float]
    """Largest difference of an output between two runtimes that run the same network."""
    head_gives: ClassVar[Gives] = "numbers"
    """What a network's head must give (`whc.models.heads`)."""
    required_columns: ClassVar[tuple[str, ...]] = ()
    """Columns of labels that a labelled data set must have, without an empty value."""
    needs_every_stratum: ClassVar[bool] = False
    """Whether every split must have rows of every stratum."""
    decode_scale: ClassVar[float] = 1.0
    """How many times the input's height and width training pictures have, so that an enlarged part stays sharp."""
    can_compose: ClassVar[bool] = False
    """Whether there are targets of a picture that is made of others: `composed`, `joined`, `objects`."""
    conditions: ClassVar[Mapping[str, Condition]] = {f"{degrees:+}": turned_condition(degrees) for degrees in (-12, 12)}
    """Changes of the test pictures under which a ladder is scored too, by name."""

    # Rows.

    @classmethod
    @abstractmethod
    def label_readers(cls) -> Mapping[str, tuple[str, Reader]]:
        """Columns of a data set that hold labels, each with its type in words and its reader."""

    @classmethod
    @abstractmethod
    def read_rows(cls, rows: pd.DataFrame, metadata: Mapping[str, str], source: str) -> RowLabels:
        """Targets (N, ...), labels and strata of a labelled data set.

        Args:
            rows: all rows, with the columns of `label_readers`, and `split`.
            metadata: metadata of the data set whose names begin with `whc.`.
            source: name of the data set in error messages.

        Raises:
            DataError: labels are missing or contradict each other.
        """

    @abstractmethod
    def read_truth(self, rows: pd.DataFrame, source: str) -> Truth | None:
        """The true targets of rows, for this task's labels; None if no row has one.

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
        """The files that `whc data build` reads, with their labels: by default the pictures that a CSV names.

        Raises:
            DataError: the files or their labels are wrong.
            UsageError: the task reads only CSV files, and no CSV file is given.
        """
        from whc.data import labels_csv

        if config.csv is None:
            rule = "must be given, as this task's labels are in a CSV file"
            raise UsageError(problem("--csv", rule, None, "give the file that names the pictures"))
        return labels_csv.scan(config, cls)

    @classmethod
    def label_strokes(cls, cells: Mapping[str, Any]) -> Sequence[Stroke]:
        """What is drawn over a picture to show its labels, which `scan_files` gives as `cells`."""
        del cells
        return ()

    @classmethod
    @abstractmethod
    def parse_text(
        cls, rows: pd.DataFrame, labels: Sequence[str] | None, source: str
    ) -> tuple[pa.Table, Mapping[str, str]]:
        """Label columns of a data set, converted from text, and the metadata that they need.

        Args:
            rows: the columns of `label_readers` that the file has, as text.
            labels: the labels in their order; None sorts them.
            source: name of the file in error messages.

        Raises:
            DataError: a text is no label; the message names the line.
        """

    def check_labels(self) -> str:
        """The rule that the labels break, in words; empty if they are right."""
        return ""

    # Learning.

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Number of raw outputs of a network for each input; for a head that gives boxes, the number of classes."""

    @abstractmethod
    def objective(self, network: nn.Module, targets: Targets, stratum_weights: Tensor, label_smoothing: float) -> Loss:
        """The loss of training.

        Args:
            network: the network in training.
            targets: (N, ...) targets of the training split.
            stratum_weights: (S,) weight of each stratum, inverse to its rows in an epoch.
            label_smoothing: share of a target that is spread evenly over all answers, if the task supports it.
        """

    @abstractmethod
    def distillation(self, network: nn.Module) -> Loss:
        """How far a network in training is from a teacher: a loss of raw outputs and the teacher's outputs (N, ...).

        It is least where the decoded raw outputs are those of the teacher, and on the scale of `objective`.
        """

    def moved(self, targets: Tensor, moves: Tensor, size: tuple[int, int]) -> Tensor:
        """Targets (N, ...) of pictures of a size (H, W) whose pixels were moved by `moves` (N, 2, 3).

        `moves` are as `Condition.move`.
        """
        del moves, size
        return targets

    def composed(self, targets: Tensor, parts: Parts, size: tuple[int, int]) -> Tensor:
        """Targets (N, ...) of pictures of a size (H, W) that are each made of P parts; asked if the task `can_compose`.

        Args:
            targets: (P, N, ...), those of the picture that each part shows, before any move.
            parts: how each was moved, and what is seen of it.
            size: of all pictures, in pixels.
        """
        raise NotImplementedError

    def joined(self, targets: Sequence[Tensor]) -> Tensor:
        """Targets of several batches as one; `composed` may give them different shapes."""
        import torch

        return torch.cat(tuple(targets))

    def objects(self, targets: Targets, size: tuple[int, int]) -> NDArray[np.float32]:
        """Rectangles that may be pasted into other pictures: (N, K, 4) left, top, right, bottom.

        They are in pixels from the centre; rows without an object are 0 throughout. Asked if the task `can_compose`.
        """
        raise NotImplementedError

    @abstractmethod
    def decoder(self, network: nn.Module) -> Decoder:
        """How raw outputs of a network become exported outputs; no step may depend on other rows of the batch."""

    def finished(self, network: nn.Module) -> nn.Module:
        """The network with its decoding, for export."""
        from whc.tasks.decoding import Decoded

        return Decoded(network, self.decoder(network))

    @property
    def graph_parameters(self) -> dict[str, Any]:
        """The parameters of the task that change the exported graph."""
        return self.config.model_dump(mode="json")

    @property
    @abstractmethod
    def output_name(self) -> str:
        """Name of the exported output."""

    # Judging.

    @abstractmethod
    def judge(self, outputs: Outputs, targets: Targets) -> Judgement:
        """Compare M outputs with M targets."""

    def clips_right(self, outputs: Outputs, targets: Targets, clips: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the mean output of each clip is its true answer (K,); empty where a clip has no single answer.

        Args:
            outputs: (M, ...).
            targets: (M, ...).
            clips: (M,) number of each row's clip.
        """
        del outputs, targets, clips
        return np.empty(0, bool)

    def parts(self, outputs: Outputs, targets: Targets) -> Mapping[str, Judgement]:
        """The parts of the score by name, each with a score of its own."""
        del outputs, targets
        return {}

    @abstractmethod
    def floor(self, targets: Targets) -> float:
        """The score of the best constant answer, which a useful model must beat."""

    def tuned(self, outputs: Outputs, targets: Targets) -> Self | None:
        """The task with the parameters that score best on these rows; None if there is no parameter to tune."""
        del outputs, targets
        return None

    def settled(self, outputs: Outputs, targets: Targets) -> Self:
        """The task as it is shipped: parameters on which the score does not depend are chosen on validation rows.

        Itself where it has none.
        """
        del outputs, targets
        return self

    def true_votes(self, targets: Targets) -> NDArray[np.int64]:
        """The votes that are right for targets (N, ...): (N, Q), with Q of 0 where the task decides nothing."""
        return np.empty((len(targets), 0), np.int64)

    @abstractmethod
    def disagreement(self, ours: Outputs, theirs: Outputs) -> tuple[float, NDArray[np.bool_]]:
        """Compare outputs of two runtimes for B inputs: the largest difference, and whether each answer differs (B,).

        A difference within `tolerance` changes no answer. A NaN counts as an infinite difference.
        """

    # People.

    @property
    def headline_answers(self) -> tuple[str, ...]:
        """The answers that a summary in one line counts; empty: all answers that occurred."""
        return ()

    @abstractmethod
    def answer_counts(self, outputs: Outputs) -> dict[str, int]:
        """Number of rows for each kind of answer, by its name."""

    def found_boxes(self, output: Outputs) -> Outputs:
        """The boxes that are drawn for one output, (M, 6): score, class, cx, cy, w, h; a task may have none."""
        del output
        return np.empty((0, 6))

    @abstractmethod
    def details(self, outputs: Outputs, targets: Targets) -> dict[str, Any]:
        """Further results for M outputs, as JSON values."""

    def noteworthy(self, outputs: Outputs, targets: Targets) -> NDArray[np.int64]:
        """Numbers of the few rows whose pictures `draw` shows."""
        del outputs, targets
        return np.empty(0, np.int64)

    def mistakes(self, outputs: Outputs, targets: Targets, count: int) -> Sequence[Mistake]:
        """At most `count` of the worst answers, the worst first; none where all answers are right."""
        del outputs, targets, count
        return ()

    @abstractmethod
    def draw(self, figure: Figure, outputs: Outputs, targets: Targets, pictures: Image | None) -> None:
        """Draw how outputs and targets agree, side by side in a figure of about 10 x 4.6 inches.

        `pictures` are those of the `noteworthy` rows, uint8 (K, H, W, 3), None if they are not available.
        """

    @property
    @abstractmethod
    def words(self) -> TaskWords:
        """Phrases about the task for model cards and tables."""

    def shown_floor(self, floor: float) -> str:
        """The score of the best constant answer, as a phrase of a ladder's table; `on the test split` follows."""
        floor_words = self.words.floor
        return f"{floor_words[0].upper()}{floor_words[1:]} scores {self.metric.shown(floor)}"


@dataclass(frozen=True)
class Truth:
    """The true targets of M rows (M, ...), whether each is known (M,), and columns of a table that show them."""

    targets: Targets
    is_known: NDArray[np.bool_]
    columns: Mapping[str, Sequence[str]]


def kind(name: str) -> type[Task]:
    """The class of the task with this name.

    Raises:
        ValueError: there is no such task; the message lists the existing tasks.
    """
    return cast("type[Task]", plugins.load(TASK_CHOICES.kind, name).TASK)


def of_columns(columns: Sequence[str], source: str) -> type[Task]:
    """The task whose label columns a data set has; classification if it has no label columns.

    Raises:
        DataError: `source` has labels of several tasks.
    """
    readers = {name: kind(name).label_readers() for name in plugins.names(TASK_CHOICES.kind)}
    labels = {name: [column for column in columns if column in readers[name]] for name in readers}
    matches = {name: label_columns for name, label_columns in labels.items() if label_columns}
    if len(matches) > 1:
        got = "; ".join(f"{', '.join(label_columns)} of {name}" for name, label_columns in matches.items())
        raise DataError(problem(source, "must have labels of one task", got, "name the task with --task"))
    return kind(next(iter(matches), DEFAULT_TASK))


def of_files(config: BuildConfig) -> type[Task]:
    """The task whose files `whc data build` is given; classification where no task claims them."""
    kinds = [kind(name) for name in plugins.names(TASK_CHOICES.kind)]
    return next((task for task in kinds if task.claims_files(config)), kind(DEFAULT_TASK))


def metric_of(config: Mapping[str, Any]) -> Metric:
    """The metric for the resolved configuration of a trial's record."""
    return kind(TASK_CHOICES.parse(config["task"]).name).metric


def of_table(name: str, labels: Sequence[str]) -> Task:
    """A task with its default parameters; its phrases for tables do not depend on them."""
    return build(TASK_CHOICES.parse(name), labels)


def in_markdown(task: Task) -> Task:
    """The task with labels that mean nothing in Markdown, for its phrases there."""
    return replace(task, labels=tuple(map(words.in_markdown, task.labels)))


def of_file(metadata: ModelMetadata) -> Task:
    """The task of an exported file.

    Raises:
        ValueError: this version has no such task, or the parameters in the file are wrong.
    """
    return build(TASK_CHOICES.parse({metadata.task: metadata.task_config}), metadata.labels)


def build(choice: Choice, labels: Sequence[str] | None) -> Task:
    """A task with its labels; None means the labels of its example, before a data set is known."""
    task = kind(choice.name)
    if labels is None:
        import pandas as pd

        empty = dict.fromkeys(task.label_readers().keys() - task.example_rows.keys())
        rows = pd.DataFrame(task.example_rows).assign(split="train", **empty)
        labels = task.read_rows(rows, task.example_metadata, "example").labels
    return task(tuple(labels), cast("PluginConfig", choice.config))

"""Classification of crops, scored by F1: that of the positive class of two, or the mean over three or more classes.

Two classes need one logit and give one probability, that of class 1, the positive class; C classes give C of each.
The outputs for M inputs are (M,) or (M, C) accordingly, targets are class ids (M,).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from whc.data.preprocess import Image
from whc.data.row_labels import RowLabels
from whc.errors import DataError, problem
from whc.plugins import PluginConfig
from whc.records import Metric
from whc.tasks import Decoder, Loss, Outputs, Targets, Task, Truth
from whc.tasks.classification.answers import POSITIVE_CLASS, ClassAnswers
from whc.tasks.showing import Mistake, TaskWords
from whc.tasks.smoothing import Smoothing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from whc.data.parquet import Reader
    from whc.data.sources import BuildConfig, SourceScan

UNKNOWN_CLASS = -1


class Config(PluginConfig):
    """`threshold`: least probability called positive; of three classes and more the likeliest is called instead.

    `smoothing`: how decisions are smoothed over time; None (left out of files): the default parameters.
    """

    threshold: float = Field(0.5, gt=0, lt=1)
    smoothing: Smoothing | None = Field(None, exclude_if=lambda smoothing: smoothing is None)


@dataclass(frozen=True)
class ConfusionCounts:
    """The called class `called` (M,) and the real class `real` (M,) of each row; `classes` is the number of classes."""

    called: NDArray[np.int64]
    real: NDArray[np.int64]
    classes: int

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Rows (C, C) by real class (first axis) and class called."""
        return np.bincount(self._cells, minlength=self.classes**2).reshape(self.classes, self.classes)

    @property
    def _cells(self) -> NDArray[np.int64]:
        return self.real * self.classes + self.called

    def score(self, weights: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
        """F1 of all rows, or (D,) of weightings (D, M) of them."""
        if weights is None:
            return f1(self.counts)
        in_cell = np.eye(self.classes**2)[self._cells]
        return f1((weights @ in_cell).reshape(-1, self.classes, self.classes))


def f1(counts: NDArray[np.floating] | NDArray[np.int64]) -> NDArray[np.float64]:
    """F1 (...) of confusion counts (..., C, C): 2 TP / (2 TP + FP + FN), 0 without a hit.

    Of class 1 for two classes, the mean over classes for more.
    """
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    called_plus_real = counts.sum(-1) + counts.sum(-2)
    by_class = 2 * hits / np.maximum(called_plus_real, 1)
    return np.asarray(by_class[..., POSITIVE_CLASS] if counts.shape[-1] == 2 else by_class.mean(-1), np.float64)


@dataclass(frozen=True)
class Classification(ClassAnswers, Task):
    """One class of `labels` for each input, labels in order of class_id."""

    metric: ClassVar[Metric] = Metric(key="f1", name="F1")
    example_rows: ClassVar[Mapping[str, Sequence[object]]] = {"class_id": (0, 1, 0), "label": ("no", "yes", "no")}
    tolerance: ClassVar[float] = 1e-4  # of a probability
    required_columns: ClassVar[tuple[str, ...]] = ("class_id", "label")
    needs_every_stratum: ClassVar[bool] = True

    # Rows.

    @classmethod
    def label_readers(cls) -> Mapping[str, tuple[str, Reader]]:
        """class_id as integers, and label as text or as numbers whose names are in the file's metadata."""
        from whc.data import parquet

        return {"class_id": ("integer", parquet.integers), "label": ("text", _read_labels)}

    @classmethod
    def read_rows(cls, rows: pd.DataFrame, metadata: Mapping[str, str], source: str) -> RowLabels:
        """Class ids (N,), the labels in their order; a stratum is a class."""
        del metadata
        pairs = rows[["class_id", "label"]].drop_duplicates().sort_values("class_id")
        ids = pairs["class_id"].tolist()
        if ids != list(range(len(ids))) or pairs["label"].duplicated().any():
            rule = "must count from 0, one label each"
            got = [[int(number), label] for number, label in pairs.to_numpy().tolist()]
            raise DataError(problem(f"{source}: class_id", rule, got, "mend class_id and label"))
        labels = tuple(pairs["label"])
        class_ids = rows["class_id"].to_numpy(np.int64)
        return RowLabels(class_ids, labels, class_ids, labels)

    def read_truth(self, rows: pd.DataFrame, source: str) -> Truth | None:
        """By label, or by class_id if no row has a label."""
        names = rows["label"].astype(object).fillna("").astype(str)
        ids = rows["class_id"].fillna(UNKNOWN_CLASS).astype("int64")
        column, values = ("label", names) if names.any() else ("class_id", ids)
        class_ids: dict[Any, int] = dict(zip(self.labels, range(len(self.labels)), strict=True)) | {"": UNKNOWN_CLASS}
        if column == "class_id":
            class_ids = {class_id: class_id for class_id in (*range(len(self.labels)), UNKNOWN_CLASS)}
        outside = sorted(set(values) - class_ids.keys(), key=str)
        if outside:
            rule = f"must be known to the model ({', '.join(f'{i} {label}' for i, label in enumerate(self.labels))})"
            raise DataError(problem(f"{source}: {column}", rule, outside, "choose another model, or drop the column"))
        targets = values.map(class_ids).to_numpy(np.int64)
        is_known = targets != UNKNOWN_CLASS
        if not is_known.any():
            return None
        true_labels = [self.labels[target] if target != UNKNOWN_CLASS else "" for target in targets.tolist()]
        return Truth(targets, is_known, {"true_label": true_labels})

    # Files.

    @classmethod
    def scan_files(cls, config: BuildConfig) -> SourceScan:
        """Class folders, or a CSV with a column `label`."""
        from whc.tasks.classification import folders

        return super().scan_files(config) if config.csv else folders.scan(config)

    @classmethod
    def parse_text(
        cls, rows: pd.DataFrame, labels: Sequence[str] | None, source: str
    ) -> tuple[pa.Table, Mapping[str, str]]:
        """Class ids count the labels in their order."""
        import pyarrow as pa

        if "label" not in rows:
            raise DataError(problem(source, "must have a column label", list(rows), "add it"))
        order = list(labels or sorted(set(rows["label"])))
        for line, label in enumerate(rows["label"], 2):
            if label not in order or not label:
                rule = f"must be one of {', '.join(order)}" if labels else "must not be empty"
                raise DataError(problem(f"{source}: line {line}: label", rule, label, "mend the row"))
        ids = [order.index(label) for label in rows["label"]]
        return pa.table({"class_id": pa.array(ids, pa.int64()), "label": pa.array(rows["label"], pa.string())}), {}

    def check_labels(self) -> str:
        """Two or more, all different."""
        return "" if len(set(self.labels)) == len(self.labels) > 1 else "must be two or more, all different"

    # Learning.

    @property
    def outputs(self) -> int:
        """Number of logits: one for two classes, else one a class."""
        return 1 if self.is_binary else len(self.labels)

    def objective(self, network: nn.Module, targets: Targets, stratum_weights: Tensor, label_smoothing: float) -> Loss:
        """Cross-entropy of logits (N, 1) or (N, C) against class ids (N,), weighted by class.

        Two classes weigh their positives by the ratio of the two weights, negatives by 1. `label_smoothing` moves that
        share of a target to all classes evenly (Szegedy et al. 2016).
        """
        from torch.nn.functional import cross_entropy

        del network, targets
        if self.is_binary:
            weight = stratum_weights[POSITIVE_CLASS] / stratum_weights[1 - POSITIVE_CLASS]
            return partial(_binary_loss, weight, label_smoothing)
        return lambda raw, targets: cross_entropy(raw, targets, stratum_weights, label_smoothing=label_smoothing)

    def distillation(self, network: nn.Module) -> Loss:
        """The divergence from the teacher's probabilities: of one label for two classes, of all classes for more."""
        from whc.models.distillation import classes_apart, labels_apart

        del network
        return labels_apart if self.is_binary else classes_apart

    def decoder(self, network: nn.Module) -> Decoder:
        """`decoded`, whatever the network."""
        del network
        return self.decoded

    def decoded(self, raw: Tensor) -> Tensor:
        """Logits to probabilities: (N, 1) to (N,) of the positive class, (N, C) to (N, C)."""
        return raw.softmax(1) if raw.shape[1] > 1 else raw.squeeze(1).sigmoid()

    @property
    def graph_parameters(self) -> dict[str, Any]:
        """None: the threshold is used outside."""
        return {}

    @property
    def output_name(self) -> str:
        """`prob_` and the positive label for two classes, `probs` for more."""
        return f"prob_{self.labels[POSITIVE_CLASS]}" if self.is_binary else "probs"

    # Judging.

    def judge(self, outputs: Outputs, targets: Targets) -> ConfusionCounts:
        """F1 of the classes called."""
        return ConfusionCounts(self.called(outputs), targets, len(self.labels))

    def clips_right(self, outputs: Outputs, targets: Targets, clips: NDArray[np.int64]) -> NDArray[np.bool_]:
        """By the mean probability of a clip's rows; clips with rows of several classes are left out."""
        right = []
        for clip in np.unique(clips):
            rows = clips == clip
            real = np.unique(targets[rows])
            if len(real) == 1:
                right.append(self.called(outputs[rows].mean(0, keepdims=True))[0] == real[0])
        return np.array(right, bool)

    def floor(self, targets: Targets) -> float:
        """The F1 of always calling the positive class of two, the commonest of more.

        Calling M_c of M rows right scores 2 M_c / (M + M_c) for that class, and 0 for every other.
        """
        counts = np.bincount(targets, minlength=len(self.labels))
        right = counts[POSITIVE_CLASS] if self.is_binary else counts.max()
        return float(2 * right / max(counts.sum() + right, 1)) / (1 if self.is_binary else len(counts))

    def tuned(self, outputs: Outputs, targets: Targets) -> Self | None:
        """The task with the threshold in (0, 1) of the highest F1 on these rows; None for three or more classes.

        The candidates are the midpoints of neighbouring probabilities, scored in one pass over the sorted ones.
        """
        if outputs.ndim > 1 or not outputs.any():
            return None
        order = np.argsort(-outputs, kind="stable")
        falling = outputs[order]
        hits = np.cumsum(targets[order] == POSITIVE_CLASS)
        scores = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
        below = np.append(falling[1:], 0).astype(falling.dtype)
        # Equal probabilities are called together, and a probability of 0 is never called.
        cuts = np.flatnonzero(falling > below)
        best = cuts[np.argmax(scores[cuts])]
        halfway = (float(falling[best]) + float(below[best])) / 2
        # There is no float between two neighbouring floats.
        threshold = halfway if falling.dtype.type(halfway) > below[best] else float(falling[best])
        return replace(self, config=self.config.model_copy(update={"threshold": threshold}))

    def true_votes(self, targets: Targets) -> NDArray[np.int64]:
        """The class ids, (N, 1)."""
        return np.asarray(targets, np.int64)[:, None]

    def disagreement(self, ours: Outputs, theirs: Outputs) -> tuple[float, NDArray[np.bool_]]:
        """Largest difference of a probability, and the rows whose called class differs."""
        difference = np.abs(ours.astype(np.float64) - theirs)
        # A NaN must fail the parity gate, but every comparison with it is False.
        largest = float(difference.max(initial=0.0)) if np.isfinite(difference).all() else float("inf")
        return largest, (self.called(ours) != self.called(theirs)) & (self._margin(ours) > self.tolerance)

    def _margin(self, outputs: Outputs) -> NDArray[np.floating]:
        """Largest change of all probabilities of a row (M,) that cannot change the called class."""
        if outputs.ndim == 1:
            return np.asarray(np.abs(outputs - self.threshold))
        second, highest = np.sort(outputs, axis=1)[:, -2:].T
        return np.asarray((highest - second) / 2)  # the highest may decrease while the second increases

    # People.

    @property
    def headline_answers(self) -> tuple[str, ...]:
        """The positive label of two; empty for more labels."""
        return self.labels[POSITIVE_CLASS:] if self.is_binary else ()

    def answer_counts(self, outputs: Outputs) -> dict[str, int]:
        """Rows by the label called."""
        counts = np.bincount(self.called(outputs), minlength=len(self.labels))
        return dict(zip(self.labels, counts.tolist(), strict=True))

    def details(self, outputs: Outputs, targets: Targets) -> dict[str, Any]:
        """Share of rows with the right class, and the confusion counts."""
        counts = self.judge(outputs, targets).counts
        return {"accuracy": float(np.trace(counts) / counts.sum()), "confusion": counts.tolist()}

    def mistakes(self, outputs: Outputs, targets: Targets, count: int) -> Sequence[Mistake]:
        """Rows whose class was not called, those with the least probability of it first."""
        called = self.called(outputs)
        shares = np.stack([1 - outputs, outputs], 1) if outputs.ndim == 1 else outputs
        of_real, of_called = (np.take_along_axis(shares, ids[:, None], 1)[:, 0] for ids in (targets, called))
        wrong = np.flatnonzero(called != targets)
        worst = wrong[np.argsort(of_real[wrong], kind="stable")][:count].tolist()
        return [
            Mistake(row, f"{self.labels[targets[row]]}, called {self.labels[called[row]]} ({of_called[row]:.2f})")
            for row in worst
        ]

    def draw(self, figure: Figure, outputs: Outputs, targets: Targets, pictures: Image | None) -> None:
        """Confusion matrix and ROC curve; for three or more classes a curve of each class against the others."""
        from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay

        del pictures
        left, right = figure.subplots(1, 2)
        counts = self.judge(outputs, targets).counts
        ConfusionMatrixDisplay(counts, display_labels=self.labels).plot(ax=left, cmap="Blues", colorbar=False)
        left.set(xlabel="called", ylabel="real")
        left.set_yticklabels(self.labels, rotation=90, va="center")
        right.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        columns = {POSITIVE_CLASS: outputs} if outputs.ndim == 1 else dict(enumerate(outputs.T))
        for class_id, column in columns.items():
            RocCurveDisplay.from_predictions(targets == class_id, column, name=self.labels[class_id], ax=right)
        right.set(xlabel="false positive rate", ylabel="true positive rate")
        right.legend(loc="lower right")

    @property
    def words(self) -> TaskWords:
        """Phrases for the model card and the table."""
        if self.is_binary:
            positive = self.labels[POSITIVE_CLASS]
            return TaskWords(
                purpose=f"tells {' from '.join(self.labels)} (task `classification`, positive label `{positive}`)",
                score=f"F1 of `{positive}`",
                floor=f"always calling {positive!r}",
                output=f"`{positive}` is called from probability {self.threshold} on",
                limit="It always answers with one of its labels, also for a crop that shows neither",
            )
        listed, count = ", ".join(self.labels), len(self.labels)
        return TaskWords(
            purpose=f"tells {', '.join(self.labels[:-1])} and {self.labels[-1]} apart (task `classification`)",
            score=f"F1, the mean over the {count} classes,",
            floor="the best constant predictor",
            output=f"Output `probs`, shape (N, {count}): a probability for each of {listed}, in this order; "
            "the likeliest is called",
            limit="It always answers with one of its labels, also for a crop that shows none of them",
        )

    def shown_floor(self, floor: float) -> str:
        """The phrase names the positive label of two, or explains F1 for more."""
        if self.is_binary:
            return f'Always calling "{self.labels[POSITIVE_CLASS]}" scores {self.metric.shown(floor)}'
        mean = f"F1 is the mean over the {len(self.labels)} classes"
        return f"{mean}; the best constant predictor scores {self.metric.number(floor)}"


TASK = Classification


def _binary_loss(weight: Tensor, label_smoothing: float, raw: Tensor, class_ids: Tensor) -> Tensor:
    from torch.nn.functional import binary_cross_entropy_with_logits

    targets = class_ids.to(raw.dtype) * (1 - label_smoothing) + label_smoothing / 2
    return binary_cross_entropy_with_logits(raw[:, 0], targets, pos_weight=weight)


def _read_labels(name: str, column: Any, metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Read text unchanged; numbers become class_id too, and get names from Hugging Face's metadata."""
    from pyarrow import types

    from whc.data import parquet

    if not types.is_integer(column.type):
        return parquet.text(name, column, metadata)
    numbers = parquet.integers(name, column, metadata)[name]
    return {"class_id": numbers, name: parquet.class_labels(numbers, parquet.class_names(metadata))}

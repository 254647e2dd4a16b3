"""Multi-label classification of pictures: zero or more labels for each picture, scored by macro F1.

A network gives one logit a label, and so C independent probabilities: outputs (M, C). Targets (M, C) are 0 or 1. A data
set has a column `labels`, a list of names, and the names of all labels, in order, in its metadata key `whc.labels`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from whc.data.preprocess import Image
from whc.data.row_labels import RowLabels
from whc.errors import DataError, problem
from whc.plugins import PluginConfig
from whc.records import Metric
from whc.tasks import Decoder, Judgement, Loss, Outputs, Targets, Task, Truth
from whc.tasks.multi_label.answers import NO_LABEL, LabelAnswers
from whc.tasks.showing import Mistake, TaskWords
from whc.tasks.smoothing import Smoothing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from whc.data.parquet import Reader

NAMES_KEY = "whc.labels"
TRIED_THRESHOLDS = np.arange(1, 100) / 100


class Config(PluginConfig):
    """`threshold`: least probability from which a label is called.

    `smoothing`: how decisions are smoothed over time; None (left out of files): the default parameters.
    """

    threshold: float = Field(0.5, gt=0, lt=1)
    smoothing: Smoothing | None = Field(None, exclude_if=lambda smoothing: smoothing is None)


@dataclass(frozen=True)
class LabelHits:
    """Labels called and real labels of M rows, both bool (M, C)."""

    called: NDArray[np.bool_]
    real: NDArray[np.bool_]

    def by_label(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """F1 (D, C) of each label for weightings (D, M): 2 TP / (2 TP + FP + FN), 1 where nothing is real or called."""
        hits = weights @ (self.called & self.real)
        called_plus_real = weights @ self.called.astype(float) + weights @ self.real.astype(float)
        occurs = called_plus_real > 0
        return np.where(occurs, 2 * hits / np.where(occurs, called_plus_real, 1), 1.0)

    def score(self, weights: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
        """Mean of F1 over the labels: () for all rows, or (D,) for weightings (D, M) of them."""
        scores = self.by_label(np.ones((1, len(self.real))) if weights is None else weights).mean(1)
        return np.asarray(scores[0] if weights is None else scores)


@dataclass(frozen=True)
class MultiLabel(LabelAnswers, Task):
    """Any of `labels` for each input."""

    metric: ClassVar[Metric] = Metric(key="macro_f1", name="macro F1")
    tolerance: ClassVar[float] = 1e-4  # of a probability
    example_rows: ClassVar[Mapping[str, Sequence[object]]] = {"labels": (["cat"], ["cat", "dog"], [], ["dog"])}
    example_metadata: ClassVar[Mapping[str, str]] = {NAMES_KEY: '["cat", "dog"]'}
    required_columns: ClassVar[tuple[str, ...]] = ("labels",)

    # Rows.

    @classmethod
    def label_readers(cls) -> Mapping[str, tuple[str, Reader]]:
        """Lists of names."""
        return {"labels": ("lists of names", _read_lists)}

    @classmethod
    def read_rows(cls, rows: pd.DataFrame, metadata: Mapping[str, str], source: str) -> RowLabels:
        """The stratum of a row is its rarest label; rows without labels are a stratum too."""
        names = _names(rows, metadata, source)
        targets = _targets(rows["labels"], names, source)
        rarest = np.where(targets > 0, targets.sum(0), len(targets) + 1).argmin(1)
        strata = np.where(targets.any(1), rarest, len(names)).astype(np.int64)
        return RowLabels(targets, names, strata, (*names, NO_LABEL))

    def read_truth(self, rows: pd.DataFrame, source: str) -> Truth | None:
        """The labels of rows whose list is not null; an empty list is a known answer."""
        is_known = rows["labels"].notna().to_numpy()
        if not is_known.any():
            return None
        lists = [names if has_list else [] for names, has_list in zip(rows["labels"], is_known, strict=True)]
        true_labels = [";".join(names) for names in lists]
        return Truth(_targets(lists, self.labels, source), is_known, {"true_labels": true_labels})

    @classmethod
    def parse_text(
        cls, rows: pd.DataFrame, labels: Sequence[str] | None, source: str
    ) -> tuple[pa.Table, Mapping[str, str]]:
        """Names with `;` between them; an empty text is no label."""
        import pyarrow as pa

        if "labels" not in rows:
            raise DataError(problem(source, "must have a column labels", list(rows), "add it"))
        lists = [[name.strip() for name in text.split(";") if name.strip()] for text in rows["labels"]]
        names = list(labels or sorted({name for row in lists for name in row}))
        for line, row in enumerate(lists, 2):
            if unknown := [name for name in row if name not in names]:
                rule = f"must be among {', '.join(names)}"
                raise DataError(problem(f"{source}: line {line}: labels", rule, unknown, "add it to --labels"))
        table = pa.table({"labels": pa.array(lists, pa.list_(pa.string()))})
        return table, {NAMES_KEY: json.dumps(names, ensure_ascii=False)}

    def check_labels(self) -> str:
        """One or more."""
        return "" if self.labels else "must be one or more"

    # Learning.

    @property
    def outputs(self) -> int:
        """A logit for each label."""
        return len(self.labels)

    def objective(self, network: nn.Module, targets: Targets, stratum_weights: Tensor, label_smoothing: float) -> Loss:
        """Binary cross-entropy of each label, a row weighted by its rarest label's stratum."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        del network, targets
        of_label, of_none = stratum_weights[:-1], stratum_weights[-1]

        def loss(raw: Tensor, targets: Tensor) -> Tensor:
            weights = (targets * of_label).amax(1).where(targets.any(1), of_none)
            smoothed = targets * (1 - label_smoothing) + label_smoothing / 2
            losses = binary_cross_entropy_with_logits(raw, smoothed, reduction="none").mean(1)
            return (weights * losses).sum() / weights.sum()

        return loss

    def distillation(self, network: nn.Module) -> Loss:
        """The divergence from the teacher's probability of each label."""
        from whc.models.distillation import labels_apart

        del network
        return labels_apart

    def decoder(self, network: nn.Module) -> Decoder:
        """`decoded`, whatever the network."""
        del network
        return self.decoded

    def decoded(self, raw: Tensor) -> Tensor:
        """Logits to independent probabilities."""
        return raw.sigmoid()

    @property
    def graph_parameters(self) -> dict[str, Any]:
        """None: the threshold is used outside."""
        return {}

    @property
    def output_name(self) -> str:
        """The same name as for several classes."""
        return "probs"

    # Judging.

    def judge(self, outputs: Outputs, targets: Targets) -> LabelHits:
        """F1 of the labels called."""
        return LabelHits(outputs >= self.threshold, targets > 0)

    def parts(self, outputs: Outputs, targets: Targets) -> Mapping[str, Judgement]:
        """F1 of each label."""
        hits = self.judge(outputs, targets)
        columns = enumerate(self.labels)
        return {name: LabelHits(hits.called[:, i : i + 1], hits.real[:, i : i + 1]) for i, name in columns}

    def floor(self, targets: Targets) -> float:
        """The score of calling every label that occurs: F1 2 n / (M + n) for a label of n of M rows, 1 for others."""
        counts = (targets > 0).sum(0)
        return float(np.where(counts > 0, 2 * counts / (len(targets) + counts), 1.0).mean())

    def tuned(self, outputs: Outputs, targets: Targets) -> Self | None:
        """The task with the threshold, in hundredths, of the highest score on these rows."""
        thresholds = [self.threshold, *TRIED_THRESHOLDS.tolist()]
        scores = [float(LabelHits(outputs >= threshold, targets > 0).score()) for threshold in thresholds]
        best = thresholds[int(np.argmax(scores))]
        return replace(self, config=self.config.model_copy(update={"threshold": best}))

    def true_votes(self, targets: Targets) -> NDArray[np.int64]:
        """The targets as they are."""
        return np.asarray(targets, np.int64)

    def disagreement(self, ours: Outputs, theirs: Outputs) -> tuple[float, NDArray[np.bool_]]:
        """Largest difference of a probability, and the rows whose called labels differ."""
        difference = np.abs(ours.astype(np.float64) - theirs)
        largest = float(difference.max(initial=0.0)) if np.isfinite(difference).all() else float("inf")
        flipped = (ours >= self.threshold) != (theirs >= self.threshold)
        return largest, (flipped & (np.abs(ours - self.threshold) > self.tolerance)).any(1)

    # People.

    def answer_counts(self, outputs: Outputs) -> dict[str, int]:
        """Rows for which each label is called, and rows without any."""
        called = outputs >= self.threshold
        return dict(zip((*self.labels, NO_LABEL), [*called.sum(0).tolist(), int((~called.any(1)).sum())], strict=True))

    def details(self, outputs: Outputs, targets: Targets) -> dict[str, Any]:
        """F1 of each label."""
        return {"f1": {name: float(part.score()) for name, part in self.parts(outputs, targets).items()}}

    def mistakes(self, outputs: Outputs, targets: Targets, count: int) -> Sequence[Mistake]:
        """Rows with a wrong label, those first whose wrong labels are farthest from the truth in sum."""
        is_wrong = (outputs >= self.threshold) != (targets > 0)
        distance = np.where(is_wrong, np.abs(outputs - (targets > 0)), 0).sum(1)
        rows = np.argsort(-distance, kind="stable")[: min(count, int(is_wrong.any(1).sum()))].tolist()
        return [Mistake(row, self._compared(outputs[row], targets[row])) for row in rows]

    def _compared(self, output: Outputs, target: Targets) -> str:
        real = [label for label, value in zip(self.labels, target.tolist(), strict=True) if value]
        return f"{', '.join(real) or NO_LABEL}; called {', '.join(self._called(output)) or NO_LABEL}"

    def draw(self, figure: Figure, outputs: Outputs, targets: Targets, pictures: Image | None) -> None:
        """F1 of each label, and precision against recall of each that occurs."""
        from sklearn.metrics import PrecisionRecallDisplay

        del pictures
        left, right = figure.subplots(1, 2)
        scores = self.details(outputs, targets)["f1"]
        left.barh(list(scores), list(scores.values()))
        left.set(xlim=(0, 1), xlabel="F1")
        for i, label in enumerate(self.labels):
            if targets[:, i].any():
                PrecisionRecallDisplay.from_predictions(targets[:, i], outputs[:, i], name=label, ax=right)
        right.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))

    @property
    def words(self) -> TaskWords:
        """Phrases for the model card and the table."""
        listed, count = ", ".join(self.labels), len(self.labels)
        return TaskWords(
            purpose=f"tells which of {listed} a picture shows (task `multi_label`)",
            score=f"F1, the mean over the {count} labels",
            floor="always calling every label that occurs",
            output=f"Output `probs`, shape (N, {count}): an independent probability for each of {listed}, in this "
            f"order; a label is called from probability {self.threshold} on",
            limit="It knows no other labels; a picture may have none of them",
        )


TASK = MultiLabel


def _names(rows: pd.DataFrame, metadata: Mapping[str, str], source: str) -> tuple[str, ...]:
    """Names of all labels in their order; without names in the metadata, the labels that occur, sorted."""
    text = metadata.get(NAMES_KEY)
    if text is None:
        return tuple(sorted({name for names in rows["labels"] for name in names}))
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_list or len(set(names)) < len(names):
        rule = "must be a JSON list of different names"
        raise DataError(problem(f"{source}: metadata {NAMES_KEY}", rule, text, "build the data set again"))
    return tuple(names)


def _targets(lists: Sequence[Sequence[str]] | pd.Series[Any], names: Sequence[str], source: str) -> Targets:
    targets = np.zeros((len(lists), len(names)), np.int64)
    place = {name: i for i, name in enumerate(names)}
    for row, labels in enumerate(lists):
        for label in labels:
            if label not in place:
                rule = f"must be among {', '.join(names)}"
                raise DataError(problem(f"{source}: row {row}: labels", rule, label, "mend the row, or the names"))
            targets[row, place[label]] = 1
    return targets


def _read_lists(name: str, column: Any, metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    import pyarrow as pa

    del metadata
    return {name: column.cast(pa.large_list(pa.large_string()))}

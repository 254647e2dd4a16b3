"""Detection: objects in a picture, each with a box, a class and a score; scored by average precision.

Targets are float32 (N, K, 5): cx, cy, w, h as shares of the picture, and the class; rows without an object are -1
throughout. Outputs are (M, K, 6): score, class, cx, cy, w, h, best first; rows without an object have score 0 and
class -1. A network's head owns loss and decoding (`whc.models.heads.BoxHead`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from whc.data.preprocess import Image
from whc.data.row_labels import RowLabels
from whc.errors import DataError
from whc.pages.thumbnails import Stroke
from whc.plugins import PluginConfig
from whc.records import Metric
from whc.tasks import Decoder, Judgement, Loss, Outputs, Targets, Task, Truth
from whc.tasks.detection import constant, drawing, judging, matching
from whc.tasks.detection import rows as box_rows
from whc.tasks.detection.answers import BoxAnswers
from whc.tasks.showing import GREEN_COLOUR, Mistake, TaskWords

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from whc.data.parquet import Reader
    from whc.data.sources import BuildConfig, SourceScan
    from whc.models.boxes import BoxHead
    from whc.models.heads import Gives
    from whc.tasks.parts import Parts

log = logging.getLogger(__name__)

LEAST_THRESHOLD = 0.001


class Config(PluginConfig):
    """What an output holds, and how boxes are learnt.

    `max_boxes`: rows of an output. `threshold`: least score from which a box is shown and counted. `flip_swaps`: pairs
    of classes, by their labels or numbers, that become each other in a mirror, such as a left and a right hand.
    `min_area`: least share of the picture that a box must have to be learnt, after augmentation.
    """

    max_boxes: int = Field(50, ge=1, le=10_000)
    threshold: float = Field(0.3, gt=0, lt=1)
    flip_swaps: dict[str, str] = {}
    min_area: float = Field(0.0, ge=0, lt=1)


@dataclass(frozen=True)
class Detection(BoxAnswers, Task):
    """Boxes of objects, for some classes."""

    metric: ClassVar[Metric] = Metric(key="ap50", name="AP50")
    tolerance: ClassVar[float] = 1e-3
    head_gives: ClassVar[Gives] = "boxes"
    decode_scale: ClassVar[float] = 1.5
    can_compose: ClassVar[bool] = True
    required_columns: ClassVar[tuple[str, ...]] = ("boxes",)
    example_rows: ClassVar[Mapping[str, Sequence[object]]] = {
        "boxes": ([[0.5, 0.5, 0.4, 0.6, 0]], [[0.3, 0.3, 0.25, 0.3, 1], [0.7, 0.6, 0.3, 0.5, 0]], []),
    }
    example_metadata: ClassVar[Mapping[str, str]] = {"whc.labels": '["person", "dog"]'}

    @property
    def _config(self) -> Config:
        return cast("Config", self.config)

    # Rows.

    @classmethod
    def label_readers(cls) -> Mapping[str, tuple[str, Reader]]:
        """Lists of boxes."""
        return box_rows.label_readers()

    @classmethod
    def read_rows(cls, rows: pd.DataFrame, metadata: Mapping[str, str], source: str) -> RowLabels:
        """Boxes (N, K, 5); a stratum is how many there are."""
        return box_rows.read(rows, metadata, source)

    def read_truth(self, rows: pd.DataFrame, source: str) -> Truth | None:
        """Rows whose list is not null say what is in them, if it is empty too."""
        targets, is_known = box_rows.read_known(rows, self.labels, source)
        if not is_known.any():
            return None
        counts = [str(count) if known else "" for count, known in zip(_counts(targets), is_known, strict=True)]
        return Truth(targets, is_known, {"true_boxes": counts})

    # Files.

    @classmethod
    def claims_files(cls, config: BuildConfig) -> bool:
        """Whether files with boxes lie where the pictures are."""
        from whc.tasks.detection import files

        return files.claims(config)

    @classmethod
    def scan_files(cls, config: BuildConfig) -> SourceScan:
        """Pictures with YOLO, VOC or COCO files."""
        from whc.tasks.detection import files

        return files.scan(config)

    @classmethod
    def label_strokes(cls, cells: Mapping[str, Any]) -> Sequence[Stroke]:
        """The boxes."""
        lines = [line for box in cells[box_rows.COLUMN] for line in drawing.outline(box[:4], GREEN_COLOUR)]
        return [(line.start, line.end, line.colour) for line in lines]

    @classmethod
    def parse_text(
        cls, rows: pd.DataFrame, labels: Sequence[str] | None, source: str
    ) -> tuple[pa.Table, Mapping[str, str]]:
        """There is no form of boxes in one cell of a CSV."""
        del rows, labels
        raise DataError(f"{source}: boxes must be in YOLO, VOC or COCO files, got a CSV; give --images and --labels")

    def check_labels(self) -> str:
        """One or more, among them those that a mirror exchanges, if these are not numbers."""
        if not self.labels:
            return "must be one or more"
        missing = [label for label in self._unknown_swaps if not label.isdecimal()]
        return f"must hold those of flip_swaps ({', '.join(missing)})" if missing else ""

    # Learning.

    @property
    def outputs(self) -> int:
        """The number of classes."""
        return len(self.labels)

    def objective(self, network: nn.Module, targets: Targets, stratum_weights: Tensor, label_smoothing: float) -> Loss:
        """The head's own loss."""
        del stratum_weights, label_smoothing
        self._tell(targets)
        head = _head(network)
        head.prepare(targets)
        return head.loss

    def _tell(self, targets: Targets) -> None:
        """Say how many boxes no output can hold, as one picture has more than `max_boxes`, and what is not swapped."""
        counts, limit = (targets[..., 4] >= 0).sum(1), self._config.max_boxes
        cut = int(np.maximum(counts - limit, 0).sum())
        if cut:
            told = "an output holds %d boxes, and %d boxes in %d pictures are beyond that; set %d"
            pictures, most = int((counts > limit).sum()), int(counts.max())
            log.warning(f"task.detection.max_boxes: {told}", limit, cut, pictures, most)
        if unknown := self._unknown_swaps:
            log.warning("task.detection.flip_swaps: left out what no class has: %s", ", ".join(unknown))

    def distillation(self, network: nn.Module) -> Loss:
        """The difference from the boxes that the teacher found, whatever its head."""
        from whc.models.distillation import boxes_apart

        return partial(boxes_apart, _head(network))

    def moved(self, targets: Tensor, moves: Tensor, size: tuple[int, int]) -> Tensor:
        """Boxes about the moved boxes' corners, cut at the border; those that are mostly outside are left out."""
        from whc.tasks.detection import moving

        return moving.moved(moving.exchanged(targets, moves, self._swaps), moves, size, self._config.min_area)

    def composed(self, targets: Tensor, parts: Parts, size: tuple[int, int]) -> Tensor:
        """As `moved`, of all parts; a box that another part mostly hides is left out too."""
        import torch

        from whc.tasks.detection import moving

        exchanged = moving.exchanged(targets, torch.from_numpy(parts.moves), self._swaps)
        return moving.composed(exchanged, parts, size, self._config.min_area)

    def joined(self, targets: Sequence[Tensor]) -> Tensor:
        """With empty rows where a batch has fewer boxes."""
        from whc.tasks.detection import moving

        return moving.joined(targets)

    def objects(self, targets: Targets, size: tuple[int, int]) -> NDArray[np.float32]:
        """The boxes, as far as they are inside the picture."""
        middle, half = targets[..., :2], targets[..., 2:4] / 2
        shares = np.clip(np.concatenate([middle - half, middle + half], -1), 0, 1) - 0.5
        pixels = shares * np.array([size[1], size[0]] * 2)
        return np.where(targets[..., 4:] >= 0, pixels, 0).astype(np.float32)

    @property
    def _swaps(self) -> dict[int, int]:
        """Which class becomes which in a mirror."""
        ids, swaps = self._ids, self._config.flip_swaps.items()
        pairs = [(ids[old], ids[new]) for old, new in swaps if old in ids and new in ids]
        return dict([*((new, old) for old, new in pairs), *pairs])

    @property
    def _unknown_swaps(self) -> list[str]:
        """Labels and numbers of `flip_swaps` that no class has."""
        swaps = self._config.flip_swaps
        return [label for label in dict.fromkeys([*swaps, *swaps.values()]) if label not in self._ids]

    @property
    def _ids(self) -> dict[str, int]:
        """The number of each class, by its number as text or its label."""
        numbers = range(len(self.labels))
        return {str(number): number for number in numbers} | dict(zip(self.labels, numbers, strict=True))

    def decoder(self, network: nn.Module) -> Decoder:
        """The head's own decoding, the best boxes first."""
        from whc.models.boxes import best

        head, count, one_class = _head(network), self._config.max_boxes, len(self.labels) == 1
        return lambda raw: best(head.decode(raw), count, head.nms_iou, one_class)

    @property
    def graph_parameters(self) -> dict[str, Any]:
        """The number of rows; the threshold is used outside."""
        return {"max_boxes": self._config.max_boxes}

    @property
    def output_name(self) -> str:
        """`detections`."""
        return "detections"

    # Judging.

    def judge(self, outputs: Outputs, targets: Targets) -> Judgement:
        """Average precision at an overlap of 0.5."""
        return judging.judge(outputs, targets, len(self.labels))

    def parts(self, outputs: Outputs, targets: Targets) -> Mapping[str, Judgement]:
        """Average precision at overlaps to 0.95, by size of the object, and by class."""
        return judging.parts(outputs, targets, self.labels)

    def floor(self, targets: Targets) -> float:
        """The same boxes for every picture."""
        return constant.floor(targets, len(self.labels))

    def settled(self, outputs: Outputs, targets: Targets) -> Self:
        """With the threshold that gives the best F1 of boxes on these pictures."""
        best = judging.best_threshold(outputs, targets, len(self.labels))
        below = max(LEAST_THRESHOLD, np.floor(best / LEAST_THRESHOLD) * LEAST_THRESHOLD)  # of a score that rounds off
        return replace(self, config=self._config.model_copy(update={"threshold": round(float(below), 3)}))

    def disagreement(self, ours: Outputs, theirs: Outputs) -> tuple[float, NDArray[np.bool_]]:
        """Largest difference between boxes of both, and whether one of them has boxes that the other lacks."""
        return matching.disagreement(ours, theirs, self.tolerance)

    # People.

    def answer_counts(self, outputs: Outputs) -> dict[str, int]:
        """Pictures with a box of each class, and pictures without any."""
        is_shown = outputs[..., 0] >= self._config.threshold
        counts = {label: int((is_shown & (outputs[..., 1] == i)).any(1).sum()) for i, label in enumerate(self.labels)}
        return {**counts, f"no {self._what}": int((~is_shown.any(1)).sum())}

    def details(self, outputs: Outputs, targets: Targets) -> dict[str, Any]:
        """Precision, recall and false alarms at the threshold, and average precision by size."""
        return judging.details(outputs, targets, self.labels, self._config.threshold)

    def noteworthy(self, outputs: Outputs, targets: Targets) -> NDArray[np.int64]:
        """Pictures with the largest misses and the surest false alarms."""
        return drawing.noteworthy(outputs, targets, self._config.threshold)

    def mistakes(self, outputs: Outputs, targets: Targets, count: int) -> Sequence[Mistake]:
        """The noteworthy pictures."""
        return drawing.mistakes(outputs, targets, self._config.threshold, count)

    def draw(self, figure: Figure, outputs: Outputs, targets: Targets, pictures: Image | None) -> None:
        """Precision against recall, and the noteworthy pictures with true and found boxes."""
        rows, threshold = self.noteworthy(outputs, targets), self._config.threshold
        drawing.draw(figure, outputs, targets, pictures, self.labels, threshold, rows)

    @property
    def words(self) -> TaskWords:
        """Of the model card and the table."""
        listed, count = ", ".join(self.labels), self._config.max_boxes
        return TaskWords(
            purpose=f"finds {listed} in pictures (task `detection`)",
            score="AP50, the average precision at an overlap (IoU) of 0.5",
            floor="giving every picture the same boxes",
            output=f"Output `detections`, shape (N, {count}, 6): score, class, cx, cy, w, h as shares of the picture, "
            f"best first; rows without an object have score 0 and class -1; boxes count from score "
            f"{self._config.threshold:.2f} on",
            limit=f"It finds at most {count} objects a picture, and knows no other classes",
            mistakes="true boxes green, right ones blue, wrong ones red",
        )


TASK = Detection


def _head(network: nn.Module) -> BoxHead:
    return cast("BoxHead", network.head)


def _counts(targets: Targets) -> list[int]:
    counts: list[int] = (targets[..., 4] >= 0).sum(1).tolist()
    return counts

"""Head pose: yaw, pitch and roll of the head in a crop, in degrees, scored by the mean absolute error.

Targets are degrees (N, 3), NaN for an unknown angle; `whc.tasks.head_pose.angles` explains the convention. Outputs are
(M, 4): yaw, pitch, roll, and the expected geodesic error, which is NaN if the network has not learnt it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from whc.data.preprocess import Image, with_margin
from whc.data.row_labels import RowLabels
from whc.pages.thumbnails import Stroke
from whc.plugins import PluginConfig
from whc.records import Metric
from whc.tasks import Decoder, Judgement, Loss, Outputs, Targets, Task, Truth
from whc.tasks.conditions import Condition, turned_condition
from whc.tasks.head_pose import angles
from whc.tasks.head_pose import rows as row_angles
from whc.tasks.head_pose.answers import ANGLE_NAMES, AXIS_COLOURS, AXIS_LENGTH, PoseAnswers, axis_lines
from whc.tasks.showing import Line, Mistake, TaskWords

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from whc.data.parquet import Reader

ERROR_SCALE = 45.0  # degrees of mean error at which the score is 0
CHANGED_DEGREES = 0.5  # two poses of runtimes that differ by more are different answers
FRONT_DEGREES, SIDE_DEGREES = 30, 90
YAW_BANDS = ("front", "side", "back")
STRATA_NAMES = ("front", "left", "right", "back", "unknown")
TRUE_COLOUR = (255, 255, 255)
CROP_MARGINS = (-0.1, 0.2, 0.4)  # added on each side of test crops, as shares of the side
WORST_SHOWN = 8


class Config(PluginConfig):
    """`output`: a whole `rotation`, or `bins` of 3 degrees for each angle, as WHENet and Hopenet have.

    `uncertainty`: whether the expected error is learnt; bins alone can do without.
    """

    output: Literal["rotation", "bins"] = "rotation"
    uncertainty: bool = True

    @model_validator(mode="after")
    def _rotation_knows_its_error(self) -> Config:
        if self.output == "rotation" and not self.uncertainty:
            raise ValueError("uncertainty must be true for rotation, got false; leave it out")
        return self


@dataclass(frozen=True)
class AngleErrors:
    """Absolute errors in degrees (M, K) of K angles, NaN for an unknown angle."""

    errors: NDArray[np.floating]

    def score(self, weights: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
        """1 - MAE / 45, at least 0; MAE is the mean of the angles' mean errors, without angles that have no labels.

        NaN if no row has a label.
        """
        is_known = ~np.isnan(self.errors)
        rows = np.ones((1, len(self.errors))) if weights is None else weights
        counts = rows @ is_known.astype(np.float64)
        sums = rows @ np.where(is_known, self.errors, 0).astype(np.float64)
        has_rows = counts > 0
        means = np.where(has_rows, sums / np.where(has_rows, counts, 1), 0)
        known_angles = has_rows.sum(1)
        mae = np.where(known_angles > 0, means.sum(1) / np.maximum(known_angles, 1), np.nan)
        scores = np.maximum(1 - mae / ERROR_SCALE, 0)
        return np.asarray(scores[0] if weights is None else scores)


def _margin_condition(share: float) -> Condition:
    return Condition(partial(with_margin, share=share))


@dataclass(frozen=True)
class HeadPose(PoseAnswers, Task):
    """Yaw, pitch and roll of a head."""

    metric: ClassVar[Metric] = Metric(key="mae", name="MAE", unit="degrees", error_scale=ERROR_SCALE, digits=2)
    tolerance: ClassVar[float] = 0.01  # degrees
    example_rows: ClassVar[Mapping[str, Sequence[object]]] = {
        "yaw": (-60.0, 0.0, 20.0, 170.0),
        "pitch": (10.0, -20.0, 0.0, 5.0),
        "roll": (0.0, 15.0, -5.0, None),
    }
    conditions: ClassVar[Mapping[str, Condition]] = {
        **{f"{degrees:+}": turned_condition(degrees) for degrees in (-12, 12)},
        **{f"margin {share:+.0%}": _margin_condition(share) for share in CROP_MARGINS},
    }

    @property
    def _config(self) -> Config:
        return cast("Config", self.config)

    # Rows.

    @classmethod
    def label_readers(cls) -> Mapping[str, tuple[str, Reader]]:
        """Angles in degrees; pan and tilt become yaw and pitch."""
        from whc.data import parquet

        return dict.fromkeys(row_angles.ANGLE_COLUMNS, ("numbers", parquet.numbers))

    @classmethod
    def read_rows(cls, rows: pd.DataFrame, metadata: Mapping[str, str], source: str) -> RowLabels:
        """Degrees (N, 3); a stratum is the direction of the nose."""
        del metadata
        degrees = row_angles.read(rows, source)
        return RowLabels(degrees, (), _strata(degrees), STRATA_NAMES)

    def read_truth(self, rows: pd.DataFrame, source: str) -> Truth | None:
        """The angles of rows that have any."""
        degrees = row_angles.degrees(rows, source)
        is_known = np.asarray(~np.isnan(degrees).all(1))
        if not is_known.any():
            return None
        texts = [["" if np.isnan(value) else f"{value:.2f}" for value in column] for column in degrees.T]
        return Truth(degrees, is_known, {f"true_{name}": text for name, text in zip(ANGLE_NAMES, texts, strict=True)})

    @classmethod
    def label_strokes(cls, cells: Mapping[str, Any]) -> Sequence[Stroke]:
        """The head's axes, if all angles are known."""
        import pandas as pd

        row = pd.DataFrame({name: [cells.get(name)] for name in row_angles.ANGLE_COLUMNS}, dtype=float)
        pose = row_angles.degrees(row, "labels")[0]
        lines = () if np.isnan(pose).any() else axis_lines(pose)
        return [(line.start, line.end, line.colour) for line in lines]

    @classmethod
    def parse_text(
        cls, rows: pd.DataFrame, labels: Sequence[str] | None, source: str
    ) -> tuple[pa.Table, Mapping[str, str]]:
        """Numbers; an empty text is an unknown angle."""
        del labels
        return row_angles.parse_text(rows, source), {}

    # Learning.

    @property
    def outputs(self) -> int:
        """7 numbers for a rotation, 253 for bins (252 without an uncertainty)."""
        from whc.tasks.head_pose import bins, rotation

        if self._config.output == "rotation":
            return rotation.OUTPUT_COUNT
        return bins.OUTPUT_COUNT if self._config.uncertainty else bins.LOGIT_COUNT

    def objective(self, network: nn.Module, targets: Targets, stratum_weights: Tensor, label_smoothing: float) -> Loss:
        """The loss of the chosen output. The score is a mean over rows, so each row weighs the same."""
        from whc.tasks.head_pose import bins, rotation

        del network, targets, stratum_weights, label_smoothing
        loss = rotation.loss if self._config.output == "rotation" else bins.loss
        return lambda raw, degrees: loss(raw, degrees.to(raw.dtype), raw.new_ones(len(raw)))

    def distillation(self, network: nn.Module) -> Loss:
        """The mean angle to the teacher's poses in radians, whatever the outputs of the two.

        Its uncertainty is not learnt: that of a network is about its own errors.
        """
        from whc.tasks.head_pose import bins, rotation

        del network
        rotations = rotation.rotations if self._config.output == "rotation" else bins.rotations
        return lambda raw, outputs: rotation.geodesic(rotations(raw), rotation.to_matrices(outputs[:, :3])).mean()

    def moved(self, targets: Tensor, moves: Tensor, size: tuple[int, int]) -> Tensor:
        """A flip mirrors yaw and roll, and a turn of the picture turns the rotation; shifts and scaling change nothing.

        A shifted or scaled crop shows the same pose, apart from the perspective.
        """
        import torch

        del size
        (a, b), (c, d) = np.moveaxis(moves[:, :, :2].numpy().astype(np.float64), 0, 2)
        is_mirrored = a * d < b * c
        side = np.where(is_mirrored, -1, 1)  # a move is a mirror followed by a turn
        clockwise = np.degrees(np.arctan2(c * side - b, a * side + d))
        degrees = targets.numpy()
        mirrored = np.where(is_mirrored[:, None], angles.mirror(degrees), degrees)
        return torch.from_numpy(angles.turn(mirrored, clockwise).astype(degrees.dtype))

    def decoder(self, network: nn.Module) -> Decoder:
        """`decoded`, whatever the network."""
        del network
        return self.decoded

    def decoded(self, raw: Tensor) -> Tensor:
        """Raw numbers to yaw, pitch, roll and uncertainty (N, 4) in degrees."""
        from whc.tasks.head_pose import bins, rotation

        return rotation.decode(raw) if self._config.output == "rotation" else bins.decode(raw)

    @property
    def output_name(self) -> str:
        """`angles`."""
        return "angles"

    # Judging.

    def judge(self, outputs: Outputs, targets: Targets) -> AngleErrors:
        """Absolute errors by the shorter way round the circle, 180 degrees at most."""
        return AngleErrors(np.abs(angles.difference(outputs[:, :3], targets)))

    def parts(self, outputs: Outputs, targets: Targets) -> Mapping[str, Judgement]:
        """Each angle, the geodesic error, and all three angles by yaw: front (up to 30), side (up to 90), back."""
        errors = self.judge(outputs, targets).errors
        by_angle = {name: AngleErrors(errors[:, i : i + 1]) for i, name in enumerate(ANGLE_NAMES)}
        geodesic = AngleErrors(angles.geodesic(outputs[:, :3], targets)[:, None])
        bands = _bands(targets)
        by_band = {
            name: AngleErrors(np.where((bands == i)[:, None], errors, np.nan)) for i, name in enumerate(YAW_BANDS)
        }
        return {**by_angle, "geodesic": geodesic, **by_band}

    def floor(self, targets: Targets) -> float:
        """The score of the median pose, the constant with the least mean absolute error."""
        labelled = targets[:, ~np.isnan(targets).all(0)]
        return float(AngleErrors(np.abs(angles.difference(np.nanmedian(labelled, axis=0), labelled))).score())

    def disagreement(self, ours: Outputs, theirs: Outputs) -> tuple[float, NDArray[np.bool_]]:
        """The largest angle between two poses, or difference of two uncertainties, in degrees."""
        apart = angles.geodesic(ours[:, :3], theirs[:, :3])
        if self._config.uncertainty:
            apart = np.maximum(apart, np.abs(ours[:, 3].astype(np.float64) - theirs[:, 3]))
        largest = float(apart.max(initial=0.0)) if np.isfinite(apart).all() else float("inf")
        return largest, ~(apart <= CHANGED_DEGREES)

    # People.

    def answer_counts(self, outputs: Outputs) -> dict[str, int]:
        """Answers by yaw."""
        counts = np.bincount(_bands(outputs[:, :3]), minlength=len(YAW_BANDS))
        return dict(zip(YAW_BANDS, counts.tolist(), strict=True))

    def details(self, outputs: Outputs, targets: Targets) -> dict[str, Any]:
        """Mean errors in degrees, and Spearman's rank correlation of uncertainty and geodesic error."""
        parts = {name: float(part.score()) for name, part in self.parts(outputs, targets).items()}
        errors: dict[str, Any] = {
            name: self.metric.value(score) for name, score in parts.items() if not np.isnan(score)
        }
        ranks = self._rank_correlation(outputs, targets)
        return errors if ranks is None else {**errors, "uncertainty_rank_correlation": ranks}

    def _rank_correlation(self, outputs: Outputs, targets: Targets) -> float | None:
        from scipy.stats import spearmanr

        errors = angles.geodesic(outputs[:, :3], targets)
        is_known = ~np.isnan(errors)
        if not self._config.uncertainty or len(set(outputs[is_known, 3].tolist())) < 3:
            return None
        return float(spearmanr(outputs[is_known, 3], errors[is_known]).statistic)

    def noteworthy(self, outputs: Outputs, targets: Targets) -> NDArray[np.int64]:
        """The rows with the largest errors."""
        errors = np.nanmean(self.judge(outputs, targets).errors, axis=1)
        return np.argsort(-errors, kind="stable")[:WORST_SHOWN].astype(np.int64)

    def mistakes(self, outputs: Outputs, targets: Targets, count: int) -> Sequence[Mistake]:
        """Rows with the largest errors: the predicted axes in colours over the true ones in white."""
        known = np.flatnonzero(~np.isnan(targets).all(1))
        errors = np.nanmean(self.judge(outputs[known], targets[known]).errors, axis=1)
        worst = [(int(known[i]), float(errors[i])) for i in np.argsort(-errors, kind="stable")[:count]]
        return [
            Mistake(row, _compared(error, outputs[row], targets[row]), self._axes(outputs[row], targets[row]))
            for row, error in worst
            if error > 0
        ]

    def _axes(self, output: Outputs, target: Targets) -> tuple[Line, ...]:
        """The true axes, if all angles are known, and the predicted ones."""
        true = () if np.isnan(target).any() else axis_lines(target, (TRUE_COLOUR,) * len(AXIS_COLOURS))
        return (*true, *axis_lines(output[:3]))

    def draw(self, figure: Figure, outputs: Outputs, targets: Targets, pictures: Image | None) -> None:
        """Error against yaw, and the worst pictures with the predicted axes (solid) and the true axes (dotted)."""
        left, right = cast("Any", figure).subfigures(1, 2, width_ratios=(1, 1.3))
        errors, axes = np.nanmean(self.judge(outputs, targets).errors, axis=1), left.subplots()
        axes.scatter(targets[:, 0], errors, s=6, alpha=0.5)
        axes.set(xlabel="yaw in degrees", ylabel="mean error of the angles in degrees", ylim=(0, None))
        if pictures is None:
            right.text(0.5, 0.5, "pictures are left out here", ha="center")
            return
        grid = right.subplots(2, WORST_SHOWN // 2).ravel()
        for panel in grid:
            panel.axis("off")
        for panel, row, picture in zip(grid, self.noteworthy(outputs, targets), pictures, strict=False):
            panel.imshow(picture)
            panel.set_title(f"{errors[row]:.0f}", fontsize=9)
            height, width = picture.shape[:2]
            for pose, style in ((targets[row], ":"), (outputs[row, :3], "-")):
                ends = 0.5 + AXIS_LENGTH * angles.axes(pose[None])[0]
                for (x, y), colour in zip(ends, AXIS_COLOURS, strict=True):
                    line = ((width / 2, x * width), (height / 2, y * height))
                    panel.plot(*line, style, color=[part / 255 for part in colour], linewidth=1.5)

    @property
    def words(self) -> TaskWords:
        """Phrases for the model card and the table."""
        margins = " / ".join(f"{share:+.0%}" for share in CROP_MARGINS)
        return TaskWords(
            purpose="tells where a head points (task `head_pose`)",
            score="MAE in degrees, the mean over yaw, pitch and roll of each one's mean absolute error",
            floor="the median pose",
            output="Output `angles`, shape (N, 4): yaw (positive: to the left edge of the picture), pitch (up), roll "
            "(clockwise) and the expected geodesic error, in degrees",
            limit="It always answers, also for a crop without a head; the expected error tells what to believe",
            conditions=f"turned by -12 / +12 degrees, with crop margins of {margins} more on each side",
            mistakes="true axes white, the answer's in colour: red along the ears, green down, blue along the nose",
        )


TASK = HeadPose


def _compared(error: float, output: Outputs, target: Targets) -> str:
    """An error in words: each known angle with the true one."""
    triples = zip(ANGLE_NAMES, output.tolist(), target.tolist(), strict=False)
    told = [f"{name} {ours:.0f}, is {real:.0f}" for name, ours, real in triples if not np.isnan(real)]
    return f"off by {error:.0f}: {'; '.join(told)}"


def _bands(degrees: NDArray[np.floating]) -> NDArray[np.int64]:
    """The index in YAW_BANDS of each pose (N,); 3 without yaw."""
    yaw = np.abs(angles.wrap(degrees[:, 0]))
    return np.select([yaw <= FRONT_DEGREES, yaw <= SIDE_DEGREES, yaw <= 180], [0, 1, 2], 3).astype(np.int64)


def _strata(degrees: NDArray[np.floating]) -> NDArray[np.int64]:
    """The index in STRATA_NAMES of each pose (N,)."""
    yaw, band = angles.wrap(degrees[:, 0]), _bands(degrees)
    return np.select([band == 0, (band == 1) & (yaw > 0), band == 1, band == 2], [0, 1, 2, 3], 4).astype(np.int64)

"""How a prediction ends that cannot be done, or that a signal interrupts."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whc.data.preprocess import Image
from whc.demo import crops
from whc.demo import model as models
from whc.demo.answering import BATCH_WINDOWS
from whc.demo.ending import Ending
from whc.demo.predict import PredictSummary
from whc.demo.predict import predict as predict_with
from whc.errors import DataError, UsageError

Build = Callable[..., Path]
Grey = Callable[..., Image]
WriteParquet = Callable[..., Path]


def predict(model: Path, source: Path, out: Path, **options: Any) -> PredictSummary:
    return predict_with(models.load(model), source, out, **options)


@pytest.mark.parametrize(
    ("frames", "content", "told"),
    [
        (1, {"label": ["dark", "smiling"]}, "label: must be known to the model (0 dark, 1 bright), got ['smiling']; "),
        (1, {"class_id": [0, 2]}, "class_id: must be known to the model (0 dark, 1 bright), got [2]; choose another"),
        (1, {"label": [0.5, 1.0]}, "label: must be a column of text"),
        (3, {"video_id": ["x", "x"], "timestamp": [0, 1]}, "must have a clip of at least 3 frames, got none; choose"),
        (3, {"video_id": ["x", "x"], "timestamp": [1, 1]}, "must have distinct timestamps for a model of 3 frames"),
    ],
)
def test_parquet_files_that_do_not_suit(
    brightness_model: Build,
    change_model: Build,
    parquet: WriteParquet,
    out: Path,
    frames: int,
    content: dict[str, Any],
    told: str,
) -> None:
    own = {"labels": ["dark", "bright"]}
    model = brightness_model() if frames == 1 else change_model(frames=frames, frame_rate=None, **own)
    refused(model, parquet([10, 250], **content), out, told)


def refused(model: Path, source: Path, out: Path, told: str, **options: Any) -> None:
    """The message names the source, and what was in the way of the table stays as it was."""
    out.write_text("an older table")
    before = sorted(out.parent.iterdir())
    with pytest.raises(DataError) as caught:
        predict(model, source, out, **options)
    message = str(caught.value)
    assert message.startswith(str(source))
    assert "\n" not in message
    assert told in message
    assert "; " in message
    assert out.read_text() == "an older table"
    assert sorted(out.parent.iterdir()) == before


def test_sources_that_hold_nothing(brightness_model: Build, tmp_path: Path, out: Path) -> None:
    model = brightness_model()
    refused(
        model, tmp_path / "nowhere", out, "must be a folder of images, an image, a Parquet file or a video, got nothing"
    )
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    (tmp_path / "empty" / "deeper" / "notes.txt").touch()
    refused(model, tmp_path / "empty", out, "must hold images, got none among 1 files")
    (tmp_path / "empty" / "deeper" / "broken.png").write_bytes(b"no image")
    refused(model, tmp_path / "empty", out, "must hold images that can be decoded, got none of 1; check the first")
    (tmp_path / "clip.mp4").write_bytes(b"no video" * 100)
    refused(model, tmp_path / "clip.mp4", out, "must be a video that FFmpeg can decode")
    (tmp_path / "text.parquet").write_text("no table")
    refused(model, tmp_path / "text.parquet", out, "must be a readable Parquet file")
    pq.write_table(pa.table({"photo": [b""], "label": ["dark"]}), tmp_path / "other.parquet")
    refused(model, tmp_path / "other.parquet", out, "must have the columns image_bytes, got ['photo', 'label']; add")


def test_splits_that_are_not_there(
    brightness_model: Build, parquet: WriteParquet, image_folder: Build, grey: Grey, out: Path
) -> None:
    model = brightness_model()
    split = ["train", "test"]
    refused(model, parquet([0, 0], split=split), out, "got 'val'; there: test, train", split="val")
    refused(model, parquet([0, 0]), out, "got 'val'; there: none", split="val")
    with pytest.raises(UsageError, match=r"--split: must come with a Parquet file, not .*images, got 'val'; leave it"):
        predict(model, image_folder([grey(0)]), out, split="val")


@pytest.mark.parametrize("name", ["out.txt", "folder.csv", "bright.onnx/out.csv"])
def test_tables_that_cannot_be_written(
    brightness_model: Build, image_folder: Build, grey: Grey, tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder.csv").mkdir()
    model = brightness_model()
    with pytest.raises(UsageError) as caught:
        predict(model, image_folder([grey(0)]), tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob(".*"))


def test_a_link_in_a_circle_is_named_and_nothing_else_is_blamed(
    brightness_model: Build, tmp_path: Path, out: Path
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").symlink_to("0.png")
    told = f"check the first, {tmp_path}/images/0.png: cannot be read: Too many levels of symbolic links"
    refused(brightness_model(), tmp_path / "images", out, told)


def test_an_error_of_the_source_is_not_blamed_on_the_table(
    brightness_model: Build, image_folder: Build, grey: Grey, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> Image:
        raise OSError(5, "Input/output error")

    folder = image_folder([grey(0)])
    monkeypatch.setattr(crops, "read_picture", fail)
    with pytest.raises(OSError, match="Input/output"):
        predict(brightness_model(), folder, out)
    assert not out.exists()


INTERRUPTED = """
import signal, sys
from pathlib import Path
from whc.demo import model as models
from whc.demo.answering import BATCH_WINDOWS
from whc.demo.predict import predict
model, source, out = map(Path, sys.argv[2:])
done_before = []

def interrupt(done, _):
    if not done_before and done > 4 * BATCH_WINDOWS:
        done_before.append(done)
        signal.raise_signal(int(sys.argv[1]))

summary = predict(models.load(model), source, out, on_progress=interrupt)
assert 0 < summary.rows <= done_before[0]
print(summary.model_dump_json())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_keeps_the_rows_so_far(
    brightness_model: Build, parquet: WriteParquet, out: Path, number: signal.Signals
) -> None:
    """In a process of its own, which an unhandled signal may end."""
    files = map(str, (int(number), brightness_model(), parquet([0] * 30 * BATCH_WINDOWS), out))
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, *files], capture_output=True, text=True, check=True)
    summary = PredictSummary.model_validate_json(done.stdout)
    assert summary.signal == number
    with out.open(encoding="utf-8", newline="") as file:
        assert summary.rows == len(list(csv.DictReader(file)))
    assert summary.notes[0].startswith("interrupted after ")
    assert not list(out.parent.glob(".*"))


def test_a_signal_before_the_first_row_leaves_nothing(
    brightness_model: Build, image_folder: Build, grey: Grey, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = Ending()
    monkeypatch.setattr("whc.demo.predict.ends_on_signal", lambda: nullcontext(ending))
    folder = image_folder([grey(0)])
    out.write_text("an older table")
    with pytest.raises(KeyboardInterrupt):
        predict(brightness_model(), folder, out, on_progress=lambda *_: ending.ask(signal.SIGTERM, None))
    assert out.read_text() == "an older table"

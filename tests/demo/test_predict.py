"""Models over folders, Parquet files and videos, to a table."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow

from whc.data.pictures import pictures_below, printable
from whc.data.preprocess import Image
from whc.data.sources import BuildConfig
from whc.demo import model as models
from whc.demo.answering import BATCH_WINDOWS
from whc.demo.predict import PredictSummary
from whc.demo.predict import predict as predict_with
from whc.demo.regions import Region
from whc.demo.run import run
from whc.errors import DataError
from whc.tasks.classification.folders import scan

Build = Callable[..., Path]
Grey = Callable[..., Image]
WriteParquet = Callable[..., Path]


def png(picture: Image) -> bytes:
    return bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())


def predict(model: Path, source: Path, out: Path, **options: Any) -> PredictSummary:
    return predict_with(models.load(model), source, out, **options)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def column(path: Path, name: str) -> list[str]:
    return [row[name] for row in table(path)]


def f1(called: list[str], real: list[str], label: str) -> float:
    hits = sum(c == r == label for c, r in zip(called, real, strict=True))
    return 2 * hits / (called.count(label) + real.count(label))


def test_folder(brightness_model: Build, image_folder: Build, grey: Grey, out: Path) -> None:
    folder = image_folder([grey(30), grey(200, 20, 60)])
    (folder / "a").mkdir()
    (folder / "a" / "bright.webp").write_bytes(cv2.imencode(".webp", grey(255))[1].tobytes())
    (folder / "a" / "unnamed").write_bytes(png(grey(51)))
    for skipped in (".hidden.png", "notes.txt"):
        (folder / skipped).write_bytes(b"skip me")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "c.png").write_bytes(png(grey(0)))
    (folder / "0.png").write_bytes(png(grey(0))[:40])
    (folder / "a" / "empty.jpg").touch()
    summary = predict(brightness_model(), folder, out)
    rows = table(out)
    assert list(rows[0]) == ["path", "label", "probability", "prob_bright"]
    assert [row["path"] for row in rows] == ["000.png", "001.png", "a/bright.webp", "a/unnamed"]
    assert [row["label"] for row in rows] == ["dark", "bright", "bright", "dark"]
    assert [float(row["prob_bright"]) for row in rows] == pytest.approx([30 / 255, 200 / 255, 1, 0.2], abs=1e-6)
    assert [float(row["probability"]) for row in rows] == pytest.approx([225 / 255, 200 / 255, 1, 0.8], abs=1e-6)
    assert (summary.rows, summary.called, summary.scores, summary.notes) == (4, {"dark": 2, "bright": 2}, {}, [])
    assert (summary.unreadable, summary.examples) == (
        2,
        [f"{folder}/0.png: cannot be decoded", f"{folder}/a/empty.jpg: empty or missing"],
    )
    assert summary.images_per_second == pytest.approx(6 / summary.seconds)
    told = summary.line()
    assert "\n" not in told
    assert told.startswith(f"{out}: 4 rows in ")
    assert told.endswith(f"; 2 dark, 2 bright; 2 unreadable images left out ({', '.join(summary.examples)})")


def test_three_classes(colour_model: Build, image_folder: Build, grey: Grey, out: Path) -> None:
    green = grey(40)
    green[..., 1] = 240
    summary = predict(colour_model(), image_folder([green]), out)
    (row,) = table(out)
    assert list(row) == ["path", "label", "probability", "prob_red", "prob_green", "prob_blue"]
    assert row["label"] == "green"
    assert row["probability"] == row["prob_green"]
    assert sum(float(row[f"prob_{label}"]) for label in ("red", "green", "blue")) == pytest.approx(1, abs=1e-5)
    assert summary.called == {"red": 0, "green": 1, "blue": 0}


def test_pictures_full_of_boxes_are_told(box_model: Build, image_folder: Build, grey: Grey, out: Path) -> None:
    """As many boxes as an output holds may be fewer than there are; a box below the least score does not count."""
    folder = image_folder([grey(20), grey(30)])
    person, weak = [0.9, 0, 0.5, 0.5, 0.2, 0.2], [0.1, 0, 0.2, 0.2, 0.1, 0.1]
    full = predict(box_model([person]), folder, out)
    assert full.notes == ["2 pictures with as many boxes as the model can give (1): more may be there"]
    assert predict(box_model([person, weak]), folder, out).notes == []


def test_many_pictures_keep_their_order(brightness_model: Build, parquet: WriteParquet, out: Path) -> None:
    """Whatever threads and batches do."""
    shades = np.random.default_rng(0).integers(0, 256, 5 * BATCH_WINDOWS + 3).tolist()
    seen: list[tuple[int, int]] = []
    summary = predict(brightness_model(), parquet(shades), out, on_progress=lambda *told: seen.append(told))
    assert summary.rows == len(shades)
    assert [int(row) for row in column(out, "row")] == list(range(len(shades)))
    found = [float(probability) for probability in column(out, "prob_bright")]
    assert found == pytest.approx([shade / 255 for shade in shades], abs=1e-5)
    assert seen == sorted(seen)
    assert seen[-1] == (len(shades), len(shades))


def test_labelled_rows_are_scored_by_split(brightness_model: Build, parquet: WriteParquet, out: Path) -> None:
    shades = [0, 200, 200, 0, 200, 0]
    split = ["train", "train", "test", "test", "test", "test"]
    # Class ids the other way round than the model's: labels are what counts.
    label = ["dark", "bright", "dark", "dark", "bright", "bright"]
    source = parquet(shades, split=split, label=label, class_id=[1, 0, 1, 1, 0, 0], image_path=list("abcdef"))
    summary = predict(brightness_model(), source, out)
    rows = table(out)
    assert list(rows[0]) == ["row", "path", "split", "true_label", "label", "probability", "prob_bright"]
    assert column(out, "path") == list("abcdef")
    assert column(out, "split") == split
    assert column(out, "true_label") == label
    called = column(out, "label")
    expected = {
        name: f1(
            [c for c, s in zip(called, split, strict=True) if s == name],
            [r for r, s in zip(label, split, strict=True) if s == name],
            "bright",
        )
        for name in ("train", "test")
    }
    assert summary.scores == pytest.approx(expected)
    assert summary.scores["train"] == 1
    assert "; train F1 1.0000; test F1 0.5000" in summary.line()
    alone = predict(brightness_model(), source, out, split="test")
    assert (alone.rows, alone.scores) == (4, {"test": pytest.approx(expected["test"])})
    assert column(out, "row") == ["2", "3", "4", "5"]


def test_a_parquet_file_of_images_alone(brightness_model: Build, parquet: WriteParquet, out: Path) -> None:
    source = parquet([10, 250])
    summary = predict(brightness_model(), source, out)
    assert list(table(out)[0]) == ["row", "path", "label", "probability", "prob_bright"]
    assert column(out, "path") == ["row 0", "row 1"]
    assert summary.scores == {}


@pytest.mark.parametrize(
    "told", [{"class_id": [0, None, 1]}, {"label": ["dark", None, "bright"]}, {"label": ["dark", "", "bright"]}]
)
def test_rows_without_a_label_are_predicted_not_scored(
    brightness_model: Build, parquet: WriteParquet, out: Path, told: dict[str, Any]
) -> None:
    summary = predict(brightness_model(), parquet([10, 250, 250], **told), out)
    assert column(out, "true_label") == ["dark", "", "bright"]
    assert (summary.rows, summary.scores) == (3, {"all": 1})


def test_several_classes_are_scored_by_the_mean(colour_model: Build, grey: Grey, tmp_path: Path, out: Path) -> None:
    strongest, label = [0, 0, 1, 2, 2], ["red", "green", "green", "blue", "red"]
    pictures = [grey(40) for _ in strongest]
    for picture, channel in zip(pictures, strongest, strict=True):
        picture[..., channel] = 240
    source = tmp_path / "colours.parquet"
    pq.write_table(pa.table({"image_bytes": [png(picture) for picture in pictures], "label": label}), source)
    summary = predict(colour_model(), source, out)
    called = column(out, "label")
    assert called == ["red", "red", "green", "blue", "blue"]
    assert summary.scores["all"] == pytest.approx(
        np.mean([f1(called, label, name) for name in ("red", "green", "blue")])
    )


def test_pictures_are_resized_as_the_model_wants(brightness_model: Build, image_folder: Build, out: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (100, 37, 3), np.uint8)
    folder = image_folder([picture])
    found = []
    for interpolation in ("area", "bilinear_antialias"):
        model = brightness_model(interpolation=interpolation)
        predict(model, folder, out)
        found.append(column(out, "prob_bright")[0])
        prepared = models.load(model).prepare(picture)
        assert float(found[-1]) == pytest.approx(prepared.mean() / 255, abs=1e-6)
    assert found[0] != found[1]


def clips(rng: np.random.Generator) -> dict[str, Any]:
    """Rows of three clips, shuffled: x of 6 frames is lit from its fourth on, y of 5 stays dark, z is too short."""
    lengths = {"x": 6, "y": 5, "z": 2}
    rows = [(name, 10 * frame, 255 * (name == "x" and frame >= 3)) for name, n in lengths.items() for frame in range(n)]
    video_id, timestamp, shades = zip(*(rows[i] for i in rng.permutation(len(rows))), strict=True)
    names = [f"{video}{time // 10}" for video, time in zip(video_id, timestamp, strict=True)]
    return {"shades": shades, "video_id": video_id, "timestamp": timestamp, "image_path": names}


def test_windows_follow_the_clips_of_a_parquet_file(change_model: Build, parquet: WriteParquet, out: Path) -> None:
    content = clips(np.random.default_rng(1))
    label = ["moved" if path in ("x3", "x4", "x5") else "calm" for path in content["image_path"]]
    summary = predict(change_model(frames=3), parquet(**content, label=label), out)
    by_path = {row["path"]: row for row in table(out)}
    assert sorted(by_path) == ["x2", "x3", "x4", "x5", "y2", "y3", "y4"]
    assert [by_path[path]["label"] for path in sorted(by_path)] == ["calm", *["moved"] * 2, *["calm"] * 4]
    assert [row["path"] for row in table(out) if row["path"][0] == "x"] == ["x2", "x3", "x4", "x5"]
    assert by_path["x4"]["row"] == str(content["image_path"].index("x4"))
    assert summary.scores == {"all": pytest.approx(0.8)}
    assert summary.notes == ["1 clips without rows, shorter than 3 frames"]


@pytest.mark.parametrize(("rate", "expected"), [(10, list(range(2, 13))), (30, [6, 9, 12]), (5, list(range(2, 13)))])
def test_clips_are_taken_at_the_models_rate(
    change_model: Build, parquet: WriteParquet, out: Path, rate: int, expected: list[int]
) -> None:
    source = parquet([0] * 13, rate, video_id=["x"] * 13, timestamp=list(range(13)))
    summary = predict(change_model(frames=3, frame_rate=10.0), source, out)
    assert [int(row) for row in column(out, "row")] == expected
    assert bool(summary.notes) == (rate == 5)


def test_an_unreadable_frame_is_left_out_of_its_clip(
    change_model: Build, grey: Grey, tmp_path: Path, out: Path
) -> None:
    images = [png(grey(0)), b"broken", None, png(grey(0)), png(grey(255))]
    source = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image_bytes": images, "video_id": ["x"] * 5, "timestamp": list(range(5))}), source)
    summary = predict(change_model(frames=2, frame_rate=None), source, out)
    assert column(out, "row") == ["3", "4"]
    assert column(out, "label") == ["calm", "moved"]
    assert (summary.unreadable, summary.examples) == (2, ["row 1: cannot be decoded", "row 2: empty or missing"])


def test_each_folder_is_a_clip(change_model: Build, image_folder: Build, grey: Grey, out: Path) -> None:
    folder = image_folder([grey(0), grey(0), grey(255)])
    (folder / "000").mkdir()
    for number in range(2):
        (folder / "000" / f"{number}.png").write_bytes(png(grey(100)))
    predict(change_model(frames=2, frame_rate=None), folder, out)
    assert [(row["path"], row["label"]) for row in table(out)] == [
        ("001.png", "calm"),
        ("002.png", "moved"),
        ("000/1.png", "calm"),
    ]


def test_video_of_a_still_model_has_a_row_for_each_frame(
    brightness_model: Build, video: Build, grey: Grey, out: Path
) -> None:
    clip = video([grey(shade) for shade in (0, 0, 250, 250, 250)], fps=12.5)
    summary = predict(brightness_model(frame_rate=5.0), clip, out)
    rows = table(out)
    assert list(rows[0]) == ["frame", "seconds", "label", "probability", "prob_bright"]
    assert [(row["frame"], row["seconds"]) for row in rows] == [(str(n), f"{n * 0.08:.3f}") for n in range(5)]
    assert summary.called == {"dark": 2, "bright": 3}


def test_video_is_decided_as_the_demo_does(change_model: Build, video: Build, grey: Grey, tmp_path: Path) -> None:
    clip = video([grey(0 if number < 12 else 255) for number in range(30)])
    model = change_model(frames=4, frame_rate=10.0)
    run(model, str(clip), csv=tmp_path / "demo.csv")
    summary = predict(model, clip, tmp_path / "out.csv")
    fresh = [row for row in table(tmp_path / "demo.csv") if row["latency_ms"]]
    found = table(tmp_path / "out.csv")
    for name, theirs in (("frame", "frame"), ("seconds", "seconds"), ("label", "label"), ("prob_moved", "probability")):
        assert [row[name] for row in found] == [row[theirs] for row in fresh]
    assert summary.rows == 7


def test_region_is_what_the_model_sees(brightness_model: Build, image_folder: Build, grey: Grey, out: Path) -> None:
    half = grey(0)
    half[:, 24:] = 255
    assert predict(brightness_model(), image_folder([half]), out, region=Region(0.5, 0, 0.5, 1)).called["bright"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_of_any_bytes_can_be_written(brightness_model: Build, image_folder: Build, grey: Grey, out: Path) -> None:
    folder = image_folder([])
    for name in (b"caf\xe9.png", 'naïve, "x".png'.encode()):
        Path(folder, name.decode("utf-8", "surrogateescape")).write_bytes(png(grey(0)))
    summary = predict(brightness_model(), folder, out)
    assert column(out, "path") == ["caf\\udce9.png", 'naïve, "x".png']
    assert summary.rows == 2


def upright_is_bright(path: Path) -> Path:
    """A photo whose pixels are dark on the left and which its EXIF data turn, so that its upper half is dark."""
    exif = Pillow.Exif()
    exif[0x112] = 6
    pixels = np.zeros((48, 96, 3), np.uint8)
    pixels[:, 48:] = 255
    Pillow.fromarray(pixels).save(path, exif=exif, quality=95)
    return path


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "unnamed"])
def test_a_photo_is_the_same_by_itself_and_in_a_folder(
    brightness_model: Build, tmp_path: Path, out: Path, name: str
) -> None:
    (tmp_path / "photos").mkdir()
    photo = upright_is_bright(tmp_path / "photos" / "x.jpg").rename(tmp_path / "photos" / name)
    upper = Region(0, 0, 1, 0.5)
    seen = []
    for source in (photo, photo.parent):
        assert predict(brightness_model(), source, out, region=upper).called == {"dark": 1, "bright": 0}
        seen.append(table(out))
        run(brightness_model(), str(source), region=upper, csv=tmp_path / "demo.csv")
        assert column(tmp_path / "demo.csv", "probability") == column(out, "prob_bright")
    assert seen[0] == seen[1]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_predict_demo_and_build_take_the_same_files(brightness_model: Build, tmp_path: Path, out: Path) -> None:
    """Of a folder with what is easily taken for a picture, or not for one."""
    folder = tmp_path / "split"
    pictures = (b"a.avif", b"b.heic", b"c.png", b"f.gif", b"unnamed", b"\xff.png", b"\xff.xyz")
    for label in ("no", "yes"):
        (folder / label).mkdir(parents=True)
        for name in (*pictures, b"d.mp4", b"e.svg", b"notes.txt"):
            path = Path(os.fsdecode(os.fsencode(folder / label) + b"/" + name))
            path.write_bytes(b"\x89PNG\r\n\x1a\n" if name in pictures else b"<svg/>")
    taken = {printable(path.name) for path in pictures_below(folder)[0]}
    assert taken == {printable(os.fsdecode(name)) for name in pictures}
    with pytest.raises(DataError, match="got none of 14"):
        predict(brightness_model(), folder, out)
    with pytest.raises(DataError, match="got none of 14"):
        run(brightness_model(), str(folder))
    found = scan(BuildConfig(kind="images", folder=folder, split=(0.7, 0.15, 0.15)))
    of_odd_names = {"\\udcff.png", "\\udcff.xyz"}  # which a data set cannot hold
    assert {Path(source.name).name for source in found.sources} == taken - of_odd_names


def test_imports_nothing_heavy(brightness_model: Build, image_folder: Build, grey: Grey, out: Path) -> None:
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from whc.demo import model as models
        from whc.demo.predict import predict
        model, source, out = map(Path, sys.argv[1:])
        predict(models.load(model), source, out)
        print([name for name in ("torch", "ray", "optuna", "mlflow", "pandas") if name in sys.modules])
    """)
    files = [str(brightness_model()), str(image_folder([grey(0)])), str(out)]
    done = subprocess.run([sys.executable, "-c", program, *files], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_real_video(change_model: Build, real_videos: Path, out: Path) -> None:
    summary = predict(change_model(task_config={"threshold": 0.02}), real_videos / "asl_yes.mkv", out)
    assert (summary.rows, summary.notes) == (19, [])  # frames 9, 12 ... 63
    assert column(out, "frame")[:2] == ["9", "12"]


def test_real_video_cut_in_half_is_told(brightness_model: Build, real_videos: Path, tmp_path: Path, out: Path) -> None:
    content = (real_videos / "asl_yes.mkv").read_bytes()
    (tmp_path / "half.mkv").write_bytes(content[: len(content) // 2])
    (note,) = predict(brightness_model(), tmp_path / "half.mkv", out).notes
    assert note.startswith("the source ended early")

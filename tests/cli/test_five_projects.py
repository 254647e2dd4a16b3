"""Files as the builders of WHC, HSC, PUC, SC and OCEC write them, from rendered pictures: read, predicted, searched."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from whc.data import dataset, report
from whc.data.synthetic import render
from whc.tasks.classification import Classification

read = partial(dataset.read, task=Classification)
inspect = partial(report.inspect, task=Classification)

CLIPS = 42


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Rendered frames in two splits: what is test for us went to validation there."""
    rows = pd.read_parquet(render(tmp_path_factory.mktemp("rendered"), CLIPS))
    is_train = rows["split"] == "train"
    frame = rows["timestamp"].map("{:04d}".format)
    return rows.assign(split=is_train.map({True: "train", False: "val"}), file=rows["video_id"] + "_" + frame + ".jpg")


def put(folder: Path, rows: pd.DataFrame, names: pd.Series) -> None:
    for name, content in zip(names, rows["image_bytes"], strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def pictured(rows: pd.DataFrame, project: str) -> pd.DataFrame:
    """Rows for a project. Positive stills are bright, as they must be told apart without their neighbours."""
    if project in TAKE_WINDOWS:
        return rows

    def encode(encoded: bytes, gain: float) -> bytes:
        picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        return bytes(cv2.imencode(".jpg", cv2.convertScaleAbs(picture, alpha=gain))[1].tobytes())

    gains = rows["class_id"].map({0: 0.4, 1: 1.5})
    return rows.assign(image_bytes=[encode(*pair) for pair in zip(rows["image_bytes"], gains, strict=True)])


def whc(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Clips are sources; neither video_id nor timestamp tells them apart."""
    split = rows["split"].replace("val", "validation")
    return pd.DataFrame(
        {
            "split": split,
            "image_path": split + "/" + rows["label"] + "/" + rows["file"],
            "image_bytes": rows["image_bytes"],
            "class_id": rows["class_id"],
            "label": rows["label"],
            "source": rows["video_id"],
            "filename": rows["file"],
            "video_id": split + "/" + rows["label"],
            "timestamp": 0,
        }
    )


def hsc(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Stills: one source, the class folder as video_id, and a person for each picture."""
    label = rows["class_id"].map({0: "no_smiling", 1: "smiling"})
    split = rows["split"].replace("val", "validation")
    table = whc(rows, folder).assign(image_path=split + "/" + label + "/" + rows["file"], label=label)
    table = table.assign(source="smile_color", video_id=split + "/" + label, person_id=range(1, len(rows) + 1))
    return table.sort_values(["split", "class_id", "image_path"])


def puc(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Three classes, and the class folder as source."""
    names = ("no_action", "point_somewhere", "point")
    class_id = rows["motion"].map({"waving": 2, "passing": 1, "opening": 1}).fillna(0).astype(int)
    label = class_id.map(dict(enumerate(names)))
    table = pd.DataFrame({"split": rows["split"], "image_path": label + "/" + rows["file"]})
    table = table.assign(image_bytes=rows["image_bytes"], class_id=class_id, label=label, source=label)
    return table.assign(filename=rows["file"])


def sc(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Pictures beside the file; timestamps are text, at each of which there may be several people."""
    paths = "images/" + rows["file"]
    put(folder, rows, paths)
    label = rows["class_id"].map({0: "not_sitting", 1: "sitting"})
    table = pd.DataFrame({"split": rows["split"], "image_path": paths, "class_id": rows["class_id"], "label": label})
    table = table.assign(source=rows["video_id"], filename=rows["file"], video_id=rows["video_id"])
    timestamp = (900 + rows["timestamp"] // 2).map("{:04d}".format)
    return table.assign(timestamp=timestamp, person_id=rows["timestamp"] % 2)


def ocec(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Pictures beside the file, and little else."""
    paths = "cropped/" + rows["video_id"] + "/" + rows["file"]
    put(folder, rows, paths)
    label = rows["class_id"].map({0: "closed", 1: "open"})
    table = pd.DataFrame({"split": rows["split"], "label": label, "class_id": rows["class_id"], "image_path": paths})
    return table.assign(source="train_dataset").sort_values(["split", "label", "image_path"])


Write = Callable[[pd.DataFrame, Path], pd.DataFrame]
BY_SOURCE = "clips: by source, in order of image_path, as"
# How each writes, what it calls the classes, and how its clips are found.
PROJECTS: dict[str, tuple[Write, tuple[str, ...], str]] = {
    "whc": (whc, ("no_waving_hand", "waving_hand"), f"{BY_SOURCE} timestamp is the same everywhere"),
    "hsc": (hsc, ("no_smiling", "smiling"), f"{BY_SOURCE} timestamp is the same everywhere"),
    "puc": (puc, ("no_action", "point_somewhere", "point"), f"{BY_SOURCE} there is no video_id"),
    "sc": (sc, ("not_sitting", "sitting"), f"{BY_SOURCE} frames of one video_id share a timestamp"),
    "ocec": (ocec, ("closed", "open"), f"{BY_SOURCE} there is no video_id"),
}
TAKE_WINDOWS = ("whc", "sc")  # whose sources are clips


@pytest.fixture(params=PROJECTS)
def project(request: pytest.FixtureRequest, frames: pd.DataFrame, tmp_path: Path) -> str:
    """Name of a project whose file lies in `tmp_path`."""
    name: str = request.param
    PROJECTS[name][0](pictured(frames, name), tmp_path).to_parquet(tmp_path / "dataset.parquet", index=False)
    return name


def test_their_files_are_read(project: str, frames: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "dataset.parquet"
    _, labels, rule = PROJECTS[project]
    table = read(path)
    assert table.labelled is not None
    assert (table.labelled.labels, table.clip_rule) == (tuple(labels), rule)
    expected = pictured(frames, project).set_index("file")
    names = table.rows["image_path"].str.rpartition("/")[2]
    assert sorted(names) == sorted(frames["file"])
    assert table.rows["split"].tolist() == expected["split"][names].tolist()
    assert table.encoded.to_pylist() == expected["image_bytes"][names].tolist()
    found = inspect(path)
    assert {name: split.rows for name, split in found.splits.items()} == {
        **frames["split"].value_counts().to_dict(),
        "test": 0,
    }
    assert (found.unreadable.count, found.frame_rate) == (0, None)
    if project in TAKE_WINDOWS:
        assert table.rows.groupby("clip").ngroups == CLIPS
        order = table.rows.assign(file=names).sort_values(["clip", "place"])
        for _, clip in order.groupby("clip"):
            assert expected.loc[clip["file"], "timestamp"].tolist() == list(range(len(clip)))


SPACE = """
name: {name}
recipe: recipe.yaml
trials: 2
space:
  model:
    sequence: {sequence}
    width: [8, 16]
    depth: 2
    image_size: 24
  training: {{epochs: 15, batch_size: 32, lr: 1e-2}}
"""


PREDICT = ("predict", "--source", "dataset.parquet", "--split", "validation", "--out", "val.csv", "--model")


def sequence(project: str) -> str:
    return "{frame_stack: {frames: 4}}" if project in TAKE_WINDOWS else "none"


@pytest.mark.slow
def test_train_and_predict(project: str, whc_command: Callable[..., Any], result: Callable[..., Any]) -> None:
    _, labels, rule = PROJECTS[project]
    takes_windows = project in TAKE_WINDOWS
    settings = {"model.sequence": sequence(project), "model.width": "4", "model.image_size": "16"}
    assigned = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    trained = whc_command("train", "--data", "dataset.parquet", "--out", "run", "--set", "training.epochs=1", *assigned)
    assert trained.code == 0, trained.err
    assert (rule in trained.err) == takes_windows
    predicted = result(*PREDICT, "run/checkpoint.pt")
    assert list(predicted["scores"]) == ["val"]
    assert list(predicted["called"]) == list(labels)
    assert predicted["notes"][:1] == ([rule] if takes_windows else [])


@pytest.mark.slow
@pytest.mark.parametrize("project", ["sc", "puc"], indirect=True)
def test_search_and_build_table(project: str, home: Path, result: Callable[..., Any]) -> None:
    """Windows whose pictures lie beside the file, and stills of three classes."""
    timing = "{min_rounds: 10, max_rounds: 30}"
    (home / "recipe.yaml").write_text(
        f"prefix: {project}\nmin_gain: 0\nmin_over_floor: 0\nrefit: {{seeds: 0}}\ntiming: {timing}\n"
    )
    (home / "space.yaml").write_text(SPACE.format(name=project, sequence=sequence(project)))
    assert result("search", "--space", "space.yaml", "--data", "dataset.parquet")["complete"]
    (best, *_) = reversed(result("factory", "build-table")["variants"])
    predicted = result(*PREDICT, best["name"])
    assert predicted["scores"]["val"] == pytest.approx(best["val_score"], abs=0.01)

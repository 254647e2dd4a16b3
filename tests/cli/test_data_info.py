"""What `whc data info` prints."""

from __future__ import annotations

import pytest
from rich.console import Console

from whc.cli.data.info import _render
from whc.data.cropping import CropMeasure
from whc.data.report import DatasetReport, Finding, Leaks, SplitReport
from whc.records import CropRule

NONE = Finding(count=0, examples=[])
FOLDER = "/home/somebody/projects/of/last/year/smiling-faces-by-person/dataset.parquet"


def report(labels: list[str], people: Finding) -> DatasetReport:
    split = SplitReport(rows=30, strata=dict.fromkeys(labels, 3), people=2, clips=30)
    return DatasetReport(
        path=FOLDER,
        rows=90,
        labels=labels,
        splits={"train": split, "val": split, "test": split},
        leaks=Leaks(people=people, clips=NONE, images=NONE),
        unreadable=NONE,
        sizes={"48x48": 90},
        frame_rate=None,
        fingerprint="f00d",
        clip_rule="clips: by video_id, in order of timestamp",
        split_aliases="",
    )


@pytest.mark.parametrize("labels", [["no", "yes"], [f"gesture number {i}" for i in range(10)]])
def test_paths_and_many_classes_fit_80_columns(labels: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=80).print(_render(report(labels, NONE)), soft_wrap=True)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"{FOLDER}: 90 rows"  # on one line, however narrow the table is
    table = [line for line in lines if line[:1] in "┏┃┡│├└"]
    assert max(map(len, table)) <= 80
    assert len([line for line in table if line.startswith("│")]) == len(labels) + 3
    assert all(any(line.startswith(f"│ {label} ") for line in table) for label in labels)


@pytest.mark.parametrize(
    ("people", "told"),
    [
        (Finding(count=2, examples=["ann", "[bob]"]), "people in more than one split: 2 (ann, [bob])"),
        (Finding(count=7, examples=["ann", "bob"]), "people in more than one split: 7 (ann, bob ...)"),
    ],
)
def test_dots_stand_for_what_is_left_out(people: Finding, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=80).print(_render(report(["no", "yes"], people)), soft_wrap=True)
    assert told in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        (
            {"crop": CropRule(detector="face", scale=1.4)},
            ["crops: cut around the boxes of face, margin 0.2"],
        ),
        (
            {"measure": CropMeasure(looked=200, found=3, rule=None, spread=0)},
            ["crops: not measured, as face finds something in 3 of 200 crops, fewer than 20; try another detector"],
        ),
        (
            {"measure": CropMeasure(looked=200, found=188, rule=CropRule(scale=0.77, offset_y=0.08), spread=0.03)},
            [
                "crops: 0.77 (+-0.03) of its boxes, centre +0.00 to the right and +0.08 down, as face finds something "
                "in 188 of 200 crops: whc demo --detect face --margin=-0.115,0,0.08"
            ],
        ),
    ],
)
def test_how_crops_were_cut(changes: dict[str, object], told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    data = report(["no", "yes"], NONE).model_copy(update=changes)
    Console(width=80).print(_render(data, "face"), soft_wrap=True)
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("crops:")] == told

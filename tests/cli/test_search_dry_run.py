"""`whc search --dry-run` and `--schema`: told without a search."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whc.data.synthetic import render

SPACE = """
name: hands
recipe: tiny
trials: 30
workers: 1
limits: {params: 1500}
data: later.parquet
space:
  model:
    backbone: {baseline: {}, inverted_se: {expansion: [2, 4]}}
    sequence: {frame_stack: {frames: [2, 3]}}
    width: {int: [4, 8], step: 2}
    image_size: 16
    depth: 2
  training: {epochs: 2, lr: {float: [1e-3, 1e-2], log: true}}
"""


@pytest.fixture(autouse=True)
def space(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr("whc.search.showing.preview.COUNTED_SAMPLES", 8)
    monkeypatch.setattr("whc.search.showing.preview.TIMED_SECONDS", 0.1)
    monkeypatch.setattr("whc.search.sampling.limits.SAMPLE_DRAWS", 12)
    path = home / "hands.yaml"
    path.write_text(SPACE, encoding="utf-8")
    return path


def test_parameters_and_samples_need_no_data(whc_command: Callable[..., Any], home: Path) -> None:
    ended = whc_command("search", "--space", "hands.yaml", "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith("hands: 5 parameters")
    (row,) = (line for line in lines if "expansion" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "model.backbone.inverted_se.expansion",
        "2, 4",
        "model.backbone is inverted_se",
    ]
    assert "4 to 8, step 2" in ended.out
    assert "0.001 to 0.01, log" in ended.out
    place = next(i for i, line in enumerate(lines) if line == "and 4 fixed; 5 of what could be drawn:")
    for line in lines[place + 1 : place + 6]:
        assert re.fullmatch(r"  (baseline|inverted_se)/avg rgb w[468] d2 16px x[23], [\d,]+ weights; lr 0\.\d+", line)
    assert re.fullmatch(r"\d+ of 8 drawn are over the limit on params", lines[place + 6])
    assert lines[place + 7 :] == ["what it would take can be told with --data"]
    assert {path.name for path in home.iterdir()} == {"hands.yaml"}
    assert whc_command("search", "--space", "hands.yaml", "--dry-run").out == ended.out


def test_with_data_it_tells_the_cost(whc_command: Callable[..., Any], home: Path) -> None:
    data = render(home, clips=12)
    ended = whc_command("search", "--space", "hands.yaml", "--dry-run", "--data", data, "--trials", 7)
    assert ended.code == 0, ended.err
    assert re.fullmatch(
        r"at most about \d\.\d minutes of training: 7 trials of \d+ to \d+ s, 1 at a time, up to \d+ images an epoch "
        r"at \d+ to \d+ images/s \(5 networks, a thread each\); exporting and timing are left out, .*",
        ended.out.splitlines()[-1],
    )
    assert not (home / "runs").exists()
    # The data that the file names is taken where it is there.
    data.rename(home / "later.parquet")
    told = json.loads(whc_command("search", "--space", "hands.yaml", "--dry-run", "--json").out)
    assert told["cost"]["trials"] == 30
    assert told["cost"]["minutes"] > 0


def test_as_json(whc_command: Callable[..., Any]) -> None:
    ended = whc_command("search", "--space", "hands.yaml", "--dry-run", "--json")
    assert (ended.code, ended.err) == (0, "")
    told = json.loads(ended.out)
    assert (told["name"], len(told["parameters"]), told["fixed"], told["cost"]) == ("hands", 5, 4, None)
    assert len(told["samples"]) == 5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--dry-run",), "--space: required, got None; give a search file such as search_spaces/tiny.yaml"),
        (("--dry-run", "--space", "hands.yaml", "--data", "gone.parquet"), "gone.parquet: must be a Parquet file, got"),
        (
            ("--dry-run", "--space", "low.yaml"),
            "low.yaml: limits.params: must be kept by a network of the space, got 5",
        ),
    ],
)
def test_bad_input(whc_command: Callable[..., Any], home: Path, arguments: tuple[str, ...], told: str) -> None:
    (home / "low.yaml").write_text(SPACE.replace("1500", "50"), encoding="utf-8")
    ended = whc_command("search", *arguments)
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith(f"error: {told}")
    assert ended.code == (1 if "gone.parquet" in arguments else 2)


def test_the_schema_is_printed_as_the_file_is(whc_command: Callable[..., Any]) -> None:
    ended = whc_command("search", "--schema")
    shipped = Path(__file__).parents[2] / "search_spaces" / "schema.json"
    assert (ended.code, ended.out, ended.err) == (0, shipped.read_text(encoding="utf-8"), "")

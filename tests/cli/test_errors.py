"""Bad input, through the real entry point: one line on stderr for each error, nothing on stdout, what to do next."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from onnx import TensorProto, helper

import whc.cli
from whc.config import dump_yaml
from whc.records import StudyRecord, TrialRecord, save

SPACE = {"name": "hands", "recipe": "tiny", "data": "good.parquet", "space": {"model": {"width": [4, 8]}}}


def columns() -> dict[str, list[Any]]:
    """Twelve pictures, both classes in every split."""
    picture = cv2.imencode(".png", np.full((16, 16, 3), 128, np.uint8))[1].tobytes()
    splits = ["train"] * 4 + ["val"] * 4 + ["test"] * 4
    labels = ["no", "yes"] * 6
    return {
        "split": list(splits),
        "image_bytes": [picture] * 12,
        "class_id": [int(label == "yes") for label in labels],
        "label": labels,
    }


def parquet(path: Path, change: Callable[[dict[str, list[Any]]], object] | None = None) -> None:
    content = columns()
    if change:
        change(content)
    pq.write_table(pa.table(content), path)


def no_negatives_in_val(content: dict[str, list[Any]]) -> None:
    content["class_id"][4:8] = [1] * 4
    content["label"][4:8] = ["yes"] * 4


def foreign_onnx(path: Path) -> None:
    """A sound ONNX file that whc did not export."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, 8, 8]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "foreign", value[:1], value[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


@pytest.fixture(scope="module")
def begun_study(make_study: Callable[..., StudyRecord], make_trial: Callable[..., TrialRecord]) -> Callable[..., None]:
    """Leaves a study in a folder, with one trial that is over, by its record alone."""

    def leave(folder: Path) -> None:
        make_study(study="old", data="good.parquet", trials=2).save(folder)
        record = make_trial(trial_id="00000", study="old", state="failed", reason="the worker died")
        save(record, folder / "trials" / "00000" / "record.json")

    return leave


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, begun_study: Callable[..., None]) -> Path:
    """A folder of everything that is wrong, and a few things that are not."""
    folder = tmp_path_factory.mktemp("inputs")

    def text(name: str, content: str) -> None:
        (folder / name).write_text(content, encoding="utf-8")

    def space(name: str, **changes: object) -> None:
        text(name, dump_yaml({**SPACE, **changes}))

    parquet(folder / "good.parquet")
    parquet(folder / "one_class.parquet", no_negatives_in_val)
    parquet(folder / "no_label.parquet", lambda content: (content.pop("label"), content.pop("split")))
    parquet(folder / "unreadable.parquet", lambda content: content["image_bytes"].__setitem__(3, b"no picture"))
    text("text.parquet", "split,label\n")
    (folder / "torn.parquet").write_bytes((folder / "good.parquet").read_bytes()[:-20])
    space("good.yaml")
    space("no_data.yaml", data=None)
    space("no_file.yaml", data="gone.parquet")
    space("unknown_key.yaml", trails=3)
    space("ranges.yaml", space={"training": {"lr": {"float": [0.1, 0.01]}, "epochs": {"int": [2, 7], "step": 2}}})
    space("log_range.yaml", space={"training": {"lr": {"float": [0, 0.01], "log": True}}})
    text("loop.yaml", "include: loop_back.yaml\n")
    text("loop_back.yaml", "include: loop.yaml\n")
    text("include_gone.yaml", "include: gone.yaml\n")
    text("include_mistake.yaml", "include: unknown_key.yaml\ntrials: 0\n")
    space("rules.yaml", space={"model": {"width": [4, 8]}, "rules": ["model.width >= 8", "model.width <= 4"]})
    text("list.yaml", "- a\n- b\n")
    text("broken.yaml", "name: hands\nspace: {model: [\n")
    text("twice.yaml", "name: a\nname: b\n")
    text("config.yaml", "model: {widht: 3, backbone: {inverted_se: {expansion: 99}}}\ntraining: {lr: -1}\n")
    text("text.onnx", "no protobuf")
    text("text.pt", "no checkpoint")
    foreign_onnx(folder / "foreign.onnx")
    torch.save({"schema": 1, "weights": torch.zeros(1000)}, folder / "whole.pt")
    (folder / "torn.pt").write_bytes((folder / "whole.pt").read_bytes()[:-1000])
    torch.save({"weights": {}}, folder / "other.pt")
    text("recipe.yaml", "prefix: WHC\nmax_variant: 3\n")
    (folder / "d.onnx").mkdir()
    begun_study(folder / "runs" / "old")
    begun_study(folder / "runs" / "damaged")
    (folder / "runs" / "damaged" / "trials" / "00000" / "record.json").write_text('{"schema": 1,')
    begun_study(folder / "runs" / "newer")
    record = json.loads((folder / "runs" / "newer" / "trials" / "00000" / "record.json").read_text())
    (folder / "runs" / "newer" / "trials" / "00000" / "record.json").write_text(json.dumps({**record, "mood": 3}))
    begun_study(folder / "runs" / "mangled")
    text("runs/mangled/study.yaml", "study: mangled\n")
    return folder


# The command, its exit code, and for each line of stderr how it goes on after `error: ` and what its next step holds.
TRAIN = "train --out out"
SEARCH = "search --space"
CASES: dict[str, tuple[str, int, list[tuple[str, str]]]] = {
    "no such command": ("serach", 2, [("serach: no such command", "did you mean `whc search`?")]),
    "no such option": (f"{TRAIN} --dta x", 2, [("--dta: no such option", "did you mean --data?")]),
    "missing options": (
        "train",
        2,
        [
            ("--data: required, got nothing", "`whc train --help`"),
            ("--out: required, got nothing", "`whc train --help`"),
        ],
    ),
    "option out of range": ("search --trials 0", 2, [("Invalid value for '--trials'", "`whc search --help`")]),
    "nothing to bench": ("bench", 2, [("FILES: required, got nothing", "`whc bench --help`")]),
    "runs is a file": ("search --runs good.yaml --resume", 2, [("Invalid value for '--runs'", "--help")]),
    "no data": (f"{TRAIN} --data gone.parquet", 1, [("gone.parquet: must be a Parquet file", "`whc data synth`")]),
    "data is a folder": ("data info .", 1, [(".: must be a Parquet file", "give good.parquet")]),
    "data is text": (f"{TRAIN} --data text.parquet", 1, [("text.parquet: must be a readable Parquet", "build it")]),
    "data is torn": ("data info torn.parquet", 1, [("torn.parquet: must be a readable Parquet", "build it again")]),
    "missing columns": (
        f"{TRAIN} --data no_label.parquet",
        1,
        [("no_label.parquet: must have the columns split, image_bytes", "add split, label")],
    ),
    "one-class split": (
        f"{TRAIN} --data one_class.parquet",
        1,
        [("one_class.parquet: split 'val': must have readable rows of every class, 'no'", "split the data again")],
    ),
    "unreadable images": (
        f"{TRAIN} --data unreadable.parquet",
        1,
        [("unreadable.parquet: row 3: at most 1% of the images may be", "`whc data info unreadable.parquet`")],
    ),
    "config has mistakes": (
        f"{TRAIN} --data good.parquet --config config.yaml",
        2,
        [
            ("config.yaml: model.backbone.inverted_se.expansion: must be less than or equal to 8", "change"),
            ("config.yaml: model.widht: unknown key", "did you mean 'width'?"),
            ("config.yaml: training.lr: must be greater than 0, got -1", "change"),
        ],
    ),
    "config is gone": (
        f"{TRAIN} --data good.parquet --config gone.yaml",
        2,
        [("gone.yaml: must be", "check the path")],
    ),
    "config is a list": (f"{TRAIN} --data good.parquet --config list.yaml", 2, [("list.yaml: must hold a map", "see")]),
    "config is no YAML": (
        f"{TRAIN} --data good.parquet --config broken.yaml",
        2,
        [("broken.yaml: line 3: must be valid YAML", "mend")],
    ),
    "config repeats a key": (
        f"{TRAIN} --data good.parquet --config twice.yaml",
        2,
        [("twice.yaml: line 2: must be valid YAML, got: key 'name' is given twice", "mend")],
    ),
    "set without =": (f"{TRAIN} --data good.parquet --set lr", 2, [("--set: must be KEY=VALUE", "training.lr=0.01")]),
    "resume of nothing": (
        f"{TRAIN} --data good.parquet --resume",
        2,
        [("--resume: --out must hold an interrupted run, got 'out'", "leave out --resume")],
    ),
    "init and resume": (
        f"{TRAIN} --data good.parquet --resume --init x.pt",
        2,
        [("--init: must not come with --resume, got 'x.pt'", "leave one of them out")],
    ),
    "init of nothing": (
        f"{TRAIN} --data good.parquet --init x.pt",
        1,
        [("x.pt: must be a readable checkpoint, got No such file or directory", "check the path")],
    ),
    "diagnostics of a word": (
        f"{TRAIN} --data good.parquet --diagnostics some",
        2,
        [("Invalid value for '--diagnostics': must be a number of epochs", "`whc train --help`")],
    ),
    "set of nothing": (f"{TRAIN} --data good.parquet --set =3", 2, [("--set: must be KEY=VALUE", "training.lr=0.01")]),
    "set of an unknown key": (
        f"{TRAIN} --data good.parquet --set training.lrr=1",
        2,
        [("--set: training.lrr: unknown key", "did you mean 'lr'?")],
    ),
    "set of no YAML": (f"{TRAIN} --data good.parquet --set training.lr=[", 2, [("--set training.lr: value", "quote")]),
    "network that cannot be built": (
        f"{TRAIN} --data good.parquet --set model.image_size=8 --set model.depth=9 --set model.backbone=convnext",
        2,
        [("--set: model: image_size 8 is too small for convnext with depth 9", "use a larger image")],
    ),
    "out is a file": (
        "train --data good.parquet --out good.yaml --set model.image_size=16",
        1,
        [("good.yaml: must be a path that can be used, got File exists", "choose another path")],
    ),
    "out of synth is a file": (
        "data synth --clips 6 --out good.yaml",
        1,
        [("good.yaml: must be a path that can be used, got File exists", "choose another path")],
    ),
    "too few clips": ("data synth --out out --clips 2", 2, [("--clips: must be at least 6", "ask for more clips")]),
    "no space": ("search", 2, [("--space: required", "search_spaces/tiny.yaml")]),
    "unknown space": (f"{SEARCH} gone.yaml", 2, [("search_spaces: no such file, got 'gone.yaml'", "tiny.yaml")]),
    "unknown key in a space": (f"{SEARCH} unknown_key.yaml", 2, [("unknown_key.yaml: trails: unknown", "'trials'?")]),
    "impossible ranges": (
        f"{SEARCH} ranges.yaml",
        2,
        [
            ("ranges.yaml: space.training.lr: impossible range (the first end must be less", "[low, high]"),
            ("ranges.yaml: space.training.epochs: impossible range (the step must divide", "[low, high]"),
        ],
    ),
    "log range from 0": (f"{SEARCH} log_range.yaml", 2, [("log_range.yaml: space.training.lr: impossible", "write")]),
    "includes in a loop": (
        f"{SEARCH} loop.yaml",
        2,
        [
            (
                "loop_back.yaml: include: must not lead back to a file above it, got loop.yaml -> loop_back.yaml -> ",
                "leave",
            )
        ],
    ),
    "include is gone": (
        f"{SEARCH} include_gone.yaml",
        2,
        [("include_gone.yaml: include: search_spaces: no su", "or a")],
    ),
    "include has mistakes": (
        f"{SEARCH} include_mistake.yaml",
        2,
        [("include_mistake.yaml: trials: must be", "change"), ("unknown_key.yaml: trails: unknown key", "'trials'?")],
    ),
    "rules that nothing keeps": (
        f"{SEARCH} rules.yaml",
        2,
        [("rules.yaml: space.rules: must leave something", "loose")],
    ),
    "space without data": (f"{SEARCH} no_data.yaml", 2, [("--data: required, as no_data.yaml names no data", "give")]),
    "data of the space is gone": (f"{SEARCH} no_file.yaml", 1, [("gone.parquet: must be a Parquet file", "check")]),
    "study exists": (f"{SEARCH} good.yaml --study old", 1, [("runs/old: a new study's name must be free", "--resume")]),
    "study escapes": (f"{SEARCH} good.yaml --study ../out", 2, [("study name: must be letters", "another name")]),
    "study is hidden": (f"{SEARCH} good.yaml --study .out", 2, [("study name: must be letters", "another name")]),
    "resume of an unknown study": (
        "search --resume --study nobody",
        1,
        [("runs: no such study, got 'nobody'", "studies here: ")],
    ),
    "resume in an empty folder": ("search --resume --runs empty", 1, [("empty: must hold a study", "whc search")]),
    "table of no study": ("factory build-table --runs empty", 1, [("empty: must hold a study", "whc search")]),
    "table of an unknown study": ("factory build-table --study nobody", 1, [("runs: no such study", "studies here")]),
    "table of a study that escapes": ("factory build-table --study ../x", 2, [("study name: must be", "another name")]),
    "unknown recipe": (
        "factory build-table --study old --recipe gone --no-register",
        2,
        [
            (
                "factory: no such file, got 'gone'",
                "shipped ones: default.yaml, full.yaml, ",
            )
        ],
    ),
    "recipe has mistakes": (
        "factory build-table --study old --recipe recipe.yaml --no-register",
        2,
        [
            ("recipe.yaml: prefix: string should match pattern", "change the value"),
            ("recipe.yaml: max_variant: unknown key", "did you mean 'max_variants'?"),
        ],
    ),
    "nothing finished": (
        "factory build-table --study old --no-register",
        1,
        [
            (
                "runs/old: must hold finished trials, got '1 trial, none finished'",
                "whc search --resume --study old --trials ",
            )
        ],
    ),
    "damaged record": (
        "factory build-table --study damaged --no-register",
        1,
        [("runs/damaged/trials/00000/record.json: Invalid JSON", "delete the file and use --resume")],
    ),
    "record of a newer version": (
        "factory build-table --study newer --no-register",
        1,
        [("runs/newer/trials/00000/record.json: mood: Extra inputs", "use --resume")],
    ),
    "damaged study": (
        "factory build-table --study mangled --no-register",
        2,
        [("runs/mangled/study.yaml: ", "; ")] * 14,
    ),
    "no ONNX file": ("bench gone.onnx", 1, [("gone.onnx: must be an ONNX file, got nothing there", "check the path")]),
    "bench of text": ("bench text.onnx", 1, [("text.onnx: must be an ONNX file that ONNX", "export it again")]),
    "demo of a checkpoint": (
        "demo --headless --model text.pt",
        2,
        [
            (
                "--model: must be a registered name, or an .onnx or .tflite file, got 'text.pt'",
                "export --checkpoint text.pt --out",
            )
        ],
    ),
    "demo of text": ("demo --headless --model text.onnx", 1, [("text.onnx: must be an ONNX", "export it again")]),
    "demo of a foreign model": (
        "demo --headless --model foreign.onnx",
        1,
        [("foreign.onnx: must carry whc's metadata, got none", "`whc export`")],
    ),
    "model not registered": (
        "demo --headless --model whc_m",
        1,
        [("whc_m: must be a registered model, but there is no registry", "`whc factory build-table`")],
    ),
    "region of words": (
        "demo --headless --model foreign.onnx --region left",
        2,
        [("region: must be x,y,w,h", "0.25,0.25,0.5,0.5")],
    ),
    "no checkpoint": ("export --checkpoint gone.pt --out x.onnx", 1, [("gone.pt: must be a readable", "check the")]),
    "checkpoint of text": ("export --checkpoint text.pt --out x.onnx", 1, [("text.pt: must be a check", "train it")]),
    "truncated checkpoint": ("export --checkpoint torn.pt --out x.onnx", 1, [("torn.pt: must be a ch", "train it")]),
    "checkpoint of others": ("export --checkpoint other.pt --out x.onnx", 1, [("other.pt: must be a c", "train it")]),
    "out is no ONNX file": (
        "export --checkpoint gone.pt --out x.pt",
        2,
        [("--out: must be a file that ends", "model.onnx")],
    ),
    "out is a folder": ("export --checkpoint gone.pt --out d.onnx", 2, [("--out: must be a file that", "model.onnx")]),
}


def check(ended: Any, code: int, told: list[tuple[str, str]]) -> None:
    assert ended.out == ""
    lines = ended.err.splitlines()
    assert len(lines) == len(told), ended.err
    for line, (begins, next_step) in zip(lines, told, strict=True):
        assert line.startswith(f"error: {begins}")
        rule, _, advice = line.rpartition("; ")
        assert rule
        assert next_step in f"; {advice}"
    assert ended.code == code


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: str, inputs: Path, whc_command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    command, code, told = CASES[case]
    # Creating a registry's tables takes seconds, and none of these searches gets as far as writing to it.
    if command.startswith("search"):
        monkeypatch.setattr("whc.registry.studies.StudyLog", lambda location: None)
    monkeypatch.chdir(inputs)
    check(whc_command(*command.split()), code, told)
    assert not (inputs / "out").exists()
    assert not (inputs / "x.onnx").exists()


def test_bad_input_in_a_process_of_its_own(inputs: Path, home: Path, whc_process: Callable[..., Any]) -> None:
    command, code, told = CASES["data is torn"]
    for path in inputs.iterdir():
        (home / path.name).symlink_to(path)
    check(whc_process(*command.split()), code, told)


def test_a_bug_keeps_its_traceback(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del home

    def broken(path: Path) -> None:
        raise RuntimeError(f"a bug at {path}")

    monkeypatch.setattr("whc.data.parquet.column_names", broken)
    monkeypatch.setattr(sys, "argv", ["whc", "data", "info", "x.parquet"])
    with pytest.raises(RuntimeError, match=re.escape("a bug at x.parquet")):
        whc.cli.main()

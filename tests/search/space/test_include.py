"""Search files that include others: what comes of them, and who is named for a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whc.config import dump_yaml, load_yaml, shipped
from whc.errors import UsageError
from whc.records import StudyRecord
from whc.search.running.study import SearchFile, begin, read
from whc.search.space import include

BASE = """
name: base
recipe: tiny
trials: 7
limits: {latency_ms: 0.2, params: 5000}
space:
  model:
    backbone: {baseline: {}, inverted_se: {expansion: [2, 4]}}
    width: [4, 8]
    depth: {int: [2, 4]}
  training:
    lr: {float: [1e-3, 1e-2], log: true}
    augmentation: {flip: 0.5, hue: [0, 0.1]}
  rules: [model.depth <= 3 where model.width <= 4]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path, "base", BASE)
    return tmp_path


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as error:
        read(path)
    return str(error.value)


def test_own_keys_are_laid_over_the_included_ones(folder: Path) -> None:
    own = """
        include: base.yaml
        name: mine
        limits: {latency_ms: 0.5}
        space:
          model: {depth: [2, 6], backbone: {inverted_se: {se_reduction: [0, 8]}}}
          training: {lr: 0.01, augmentation: {hue: 0}, epochs: 3}
          rules: []
    """
    settings, tree = read(put(folder, "mine", own))
    assert (settings.name, settings.recipe, settings.trials) == ("mine", "tiny", 7)
    assert settings.limits.model_dump(exclude_none=True) == {"latency_ms": 0.5, "params": 5000}
    assert settings.space == {
        "model": {"backbone": {"inverted_se": {"se_reduction": [0, 8]}}, "width": [4, 8], "depth": [2, 6]},
        "training": {"lr": 0.01, "augmentation": {"flip": 0.5, "hue": 0}, "epochs": 3},
        "rules": [],
    }
    assert tree.rules == ()


def test_a_file_that_only_includes_is_the_same(folder: Path) -> None:
    assert read(put(folder, "mine", "include: base"))[0] == read(folder / "base.yaml")[0]


def test_the_later_of_several_wins_and_includes_nest(folder: Path) -> None:
    put(folder, "parts/small", "include: [../base.yaml]\nspace: {model: {width: 4, depth: 2}, rules: []}")
    put(folder, "wide", "space: {model: {width: 16}}")
    settings, _ = read(put(folder, "mine", "include: [parts/small.yaml, wide.yaml]\ntrials: 3"))
    assert (settings.space["model"]["width"], settings.space["model"]["depth"], settings.trials) == (16, 2, 3)
    settings, _ = read(put(folder, "mine", "include: [wide.yaml, parts/small.yaml]"))
    assert settings.space["model"]["width"] == 4
    # The same file twice is no loop.
    put(folder, "wide", "include: base.yaml\nspace: {model: {width: 16}}")
    assert read(put(folder, "mine", "include: [base.yaml, wide.yaml]"))[0].space["model"]["width"] == 16


def test_shipped_ones_are_included_by_name(tmp_path: Path) -> None:
    settings, _ = read(put(tmp_path, "mine", "include: smile\nname: mine\nspace: {model: {width: 4}}"))
    smile, _ = read(shipped("search_spaces", "smile"))
    assert settings.space == {**smile.space, "model": {**smile.space["model"], "width": 4}}
    assert (settings.name, settings.trials) == ("mine", smile.trials)


def test_what_lies_beside_a_file_comes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, "elsewhere/base", "name: other\nrecipe: tiny\nspace: {}")
    monkeypatch.chdir(folder / "elsewhere")
    assert read(put(folder, "mine", "include: base.yaml"))[0].name == "base"


def test_loops_are_told_with_their_files(folder: Path) -> None:
    a, b, c = folder / "a.yaml", folder / "b.yaml", folder / "c.yaml"
    put(folder, "a", "include: b.yaml")
    put(folder, "b", "include: [base.yaml, c.yaml]")
    put(folder, "c", "include: ../" + folder.name + "/b.yaml")
    told = refusal(a)
    again = c.parent / ".." / folder.name / "b.yaml"
    assert (
        told == f"{c}: include: must not lead back to a file above it, got {a} -> {b} -> {c} -> {again}; leave one out"
    )
    put(folder, "a", "include: a.yaml")
    assert refusal(a) == f"{a}: include: must not lead back to a file above it, got {a} -> {a}; leave one out"


def test_a_missing_file_is_told_of_the_one_that_includes_it(folder: Path) -> None:
    inner = put(folder, "inner", "include: gone.yaml")
    told = refusal(put(folder, "mine", "include: inner.yaml"))
    assert told.startswith(f"{inner}: include: search_spaces: no such file, got 'gone.yaml'; shipped ones: ")
    assert told.endswith(f"tiny.yaml, or a path from {folder}")


@pytest.mark.parametrize("written", ["3", "[3]", "{a: b}", "null", "[[base.yaml]]"])
def test_what_is_no_include(folder: Path, written: str) -> None:
    path = put(folder, "mine", f"include: {written}")
    assert refusal(path).startswith(f"{path}: include: must be a file or a list of files, got ")


def test_mistakes_are_told_of_the_file_that_wrote_them(folder: Path) -> None:
    base = put(folder, "base", BASE.replace("width: [4, 8]", "widht: [4, 8]").replace("trials: 7", "trials: 0"))
    own = "include: base.yaml\ntrails: 3\nspace: {model: {depth: {int: [4, 2]}, backbone: [baselin]}, rules: []}"
    mine = put(folder, "mine", own)
    assert sorted(line.split(":")[:2] for line in refusal(mine).splitlines()) == sorted(
        [
            [str(base), " trials"],
            [str(mine), " trails"],
            [str(mine), " space.model.depth"],
            [str(mine), " space.model.backbone"],
            [str(base), " space.model.widht"],
        ]
    )
    put(folder, "base", BASE.replace("name: base", ""))
    assert refusal(put(folder, "mine", "include: base.yaml")) == f"{mine}: name: required, got nothing; add it"


def test_a_rule_is_told_of_the_file_that_wrote_it(folder: Path) -> None:
    mine = put(folder, "mine", "include: base.yaml\nspace: {model: {depth: {int: [4, 6]}}}")
    assert refusal(mine).startswith(f"{folder / 'base.yaml'}: space.rules: a rule must be one that can hold, got ")


def test_a_broken_included_file_is_named(folder: Path) -> None:
    put(folder, "mine", "include: base.yaml")
    base = put(folder, "base", "- a\n")
    assert refusal(folder / "mine.yaml").startswith(f"{base}: must hold a mapping")


def test_a_study_needs_none_of_the_files(folder: Path) -> None:
    settings, _ = read(put(folder, "mine", "include: base.yaml\nspace: {model: {width: 8}}"))
    facts = {"data_fingerprint": "f00d", "reference_ms": 0.1, "host": "here", "floor": 0.5}
    begin(settings, "mine-1", "data.parquet", facts).save(folder / "study")
    assert "include" not in (folder / "study" / "study.yaml").read_text(encoding="utf-8")
    assert StudyRecord.load(folder / "study").space == settings.space
    assert settings.space["training"]["augmentation"] == {"flip": 0.5, "hue": [0, 0.1]}


leaves = st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2) | st.fixed_dictionaries({"int": st.just([1, 2])})
contents = st.dictionaries(
    st.sampled_from(["trials", "space"]),
    st.dictionaries(
        st.sampled_from(["model", "training", "rules"]), leaves | st.dictionaries(st.sampled_from("abc"), leaves)
    )
    | leaves,
)


@settings(max_examples=40)
@given(contents, contents)
def test_the_order_of_laying_over(tmp_path_factory: pytest.TempPathFactory, base: Any, own: Any) -> None:
    """What a file writes stands, what it does not write is the base's, and a file over itself is itself."""
    folder = tmp_path_factory.getbasetemp() / "laid"
    put_yaml(folder, "base", base)
    mine = put_yaml(folder, "mine", {"include": "base.yaml", **own})
    whole = include.load(mine, SearchFile).content
    assert whole.keys() == base.keys() | own.keys()
    for key in base.keys() - own.keys():
        assert whole[key] == base[key]
    for key in own.keys() - {"space"}:
        assert whole[key] == own[key]
    put_yaml(folder, "base", own)
    assert include.load(mine, SearchFile).content == own


def put_yaml(folder: Path, name: str, content: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    path = put(folder, name, dump_yaml(content))
    assert load_yaml(path) == content
    return path


def test_files_that_include_each_other_twice_are_read_once(folder: Path) -> None:
    """Each line of 15 such files stands for twice what the one before does."""
    for number in range(15):
        put(folder, f"f{number}", f"include: [{'base' if not number else f'f{number - 1}'}, ./f{number - 1}]")
    put(folder, "f-1", BASE)
    assert read(folder / "f14.yaml")[0].trials == 7


def test_a_chain_without_end_is_told(folder: Path) -> None:
    for number in range(30):
        put(folder, f"f{number}", f"include: f{number + 1}")
    assert refusal(folder / "f0.yaml").endswith(
        "f20.yaml: include: must lead at most 20 files deep, got more; write fewer files"
    )


@pytest.mark.parametrize("key", ["include", "recipe"])
def test_a_name_that_no_file_can_have(folder: Path, key: str) -> None:
    told = refusal(put(folder, "mine", f"include: base\n{key}: {'r' * 300}".replace("include: base\ninc", "inc")))
    assert "no such file, got 'rrr" in told
    assert "\n" not in told

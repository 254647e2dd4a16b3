"""YAML in, models or readable errors out."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from whc.config import Settings, dump_yaml, fingerprint, laid_over, load_yaml, overlay, shipped, validate
from whc.errors import UsageError
from whc.plugins import Choice, ChoiceOf

RUNTIMES = ChoiceOf("runtimes")


class Limits(Settings):
    latency_ms: float = Field(1.0, gt=0)
    size_bytes: int = 1000


class Job(Settings):
    name: str
    rounds: int = Field(3, ge=1)
    limits: Limits = Limits()
    runtime: Annotated[Choice, RUNTIMES] = RUNTIMES.default("onnxruntime_cpu")


def yaml_file(folder: Path, content: str | bytes) -> Path:
    path = folder / "job.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(model: type[Settings], content: object) -> list[str]:
    with pytest.raises(UsageError) as caught:
        validate(model, content, "job.yaml")
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2E5", -200_000.0),
        ("+.5e1", 5.0),
        ("1.5e3", 1500.0),
        ("0.25", 0.25),
        ("12", 12),
        ("'1e-3'", "1e-3"),
        ("v1e3", "v1e3"),
        ("2026-01-31", "2026-01-31"),
        ("2026-13-45", "2026-13-45"),
        ("none", "none"),
        ("null", None),
        ("[1e-3, 1e-1]", [0.001, 0.1]),
    ],
)
def test_scalars(tmp_path: Path, text: str, value: object) -> None:
    read = load_yaml(yaml_file(tmp_path, f"key: {text}\n"))["key"]
    assert read == value
    assert type(read) is type(value)


def bomb(of_the_line_before: str) -> str:
    """Ten lines, of which each stands for several times what the line before it, `@`, does."""
    lines = [f"{name}: &{name} {of_the_line_before.replace('@', f'*{last}')}" for last, name in pairwise("abcdefghij")]
    return "\n".join(["a: &a {x: 1}", *lines])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: must be valid YAML, got: key 'a' is given twice"),
        ("a:\n  b: 1\n  b: 1\n", "line 3: must be valid YAML, got: key 'b' is given twice"),
        ("- 1\n- 2\n", "must hold a mapping of keys to values, got [1, 2]"),
        ("just text", "must hold a mapping"),
        ("", "must hold a mapping of keys to values, got None"),
        ("a: [1,\n", "must be valid YAML"),
        ("a: 'open\n", "must be valid YAML"),
        ("a: 1\n--- \nb: 2\n", "must be valid YAML"),
        ("? [a, b]\n: 1\n", "a key must be plain text"),
        ("a: 1\nb: \x00\n", "line 2: must be valid YAML"),
        ("a: !!int x\n", "must be valid YAML"),
        ("a: !!bool x\n", "must be valid YAML"),
        ("a: !!set {b}\n", "line 1: must be valid YAML, got: could not determine a constructor"),
        ("a: !!binary aGVsbG8=\n", "line 1: must be valid YAML, got: could not determine a constructor"),
        ("a: &loop [*loop]\n", "line 1: must not hold itself"),
        ("a: &loop {<<: *loop}\n", "line 1: must not hold itself"),
        ("[" * 5000, "line 1: must nest at most 50 deep"),
        ("a: 1\n" + "# far more than a configuration holds\n" * 10_000, "must be at most 256 KB, got more"),
        ("a: [" + "1," * 30_000 + "]\n", "must hold at most 20000 values"),
        (
            bomb("[@, @, @, @, @, @]"),
            "line 6: must hold at most 20000 values, each alias counted as all that it stands",
        ),
        (bomb("{<<: [@, @, @, @, @, @]}"), "line 6: must hold at most 20000 values"),
        (b"\xff\xfe\xfa", "must be UTF-8 text"),
    ],
)
def test_what_is_not_a_yaml_mapping_is_told_in_one_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = yaml_file(tmp_path, content)
    with pytest.raises(UsageError) as caught:
        load_yaml(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.yaml", tmp_path):
        with pytest.raises(UsageError, match="must be a readable YAML file"):
            load_yaml(path)


def test_tags_construct_no_objects(tmp_path: Path) -> None:
    trace = tmp_path / "was_here"
    for tag in ("python/object/apply:pathlib.Path.touch", "python/object/new:pathlib.Path"):
        with pytest.raises(UsageError, match="could not determine a constructor"):
            load_yaml(yaml_file(tmp_path, f"a: !!{tag} ['{trace}']\n"))
    with pytest.raises(UsageError, match="value must be YAML"):
        overlay({}, {"a": f"!!python/object/apply:pathlib.Path.touch ['{trace}']"})
    assert not trace.exists()


TEXTS = st.text("abnoéλ01.-+e:# '\"\n", max_size=6)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.none() | st.booleans() | NUMBERS | TEXTS
INNER = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


@settings(max_examples=60)
@given(st.dictionaries(TEXTS, INNER, max_size=4))
@example({"data_fingerprint": "1234567890123e45", "1e3": "2026-01-31"})
def test_what_is_dumped_is_read_back(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(dump_yaml(content), encoding="utf-8", newline="")
    assert load_yaml(path) == content


@pytest.mark.parametrize(
    "number",
    [
        "1" * 400,
        "-" + "9" * 5000,
        "9223372036854775808",
        "0x" + "f" * 17,
        ".inf",
        "-.inf",
        ".nan",
        "1e999",
        "1:" * 50 + "1",
    ],
)
def test_a_number_that_nothing_can_compute_with_is_told_by_its_key(tmp_path: Path, number: str) -> None:
    path = yaml_file(tmp_path, f"space:\n  model: {{depth: {{int: [1, {number}]}}}}\nname: '{number}'\n")
    with pytest.raises(UsageError) as caught:
        load_yaml(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: space.model.depth.int: must be a finite number, a whole one within 64 bits, got '")
    assert len(line) < len(str(path)) + 250
    with pytest.raises(UsageError, match=r"^--set model\.depth: must be a finite number, a whole one within 64 bits"):
        overlay({}, {"model.depth": number})


def test_every_such_number_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_yaml(yaml_file(tmp_path, "a: .inf\nb: [1, .nan]\nc: 1\n"))
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["a", "b"]


def test_aliases_that_stay_small_are_taken(tmp_path: Path) -> None:
    text = "a: &a {x: [1, 2]}\nb: &b {<<: *a, y: *a}\nc: [*a, *b]\n"
    a, b = {"x": [1, 2]}, {"x": [1, 2], "y": {"x": [1, 2]}}
    assert load_yaml(yaml_file(tmp_path, text)) == {"a": a, "b": b, "c": [a, b]}


def test_a_key_of_very_many_parts_nests_no_deeper_than_a_file_may() -> None:
    (line,) = refusal(Job, overlay({"name": "x"}, {".".join(["limits"] * 100_000): "1"}))
    assert line == "job.yaml: limits.limits: unknown key; known here: latency_ms, size_bytes"


def test_a_name_that_no_file_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"factory: no such file, got 'rrr.*\.\.\.; shipped ones: "):
        shipped("factory", "r" * 300)


def test_settings_are_frozen() -> None:
    job = validate(Job, {"name": "one"}, "job.yaml")
    with pytest.raises(ValidationError):
        job.rounds = 4


def test_every_error_is_told_under_its_key() -> None:
    lines = refusal(
        Job,
        {
            "rounds": 0,
            "limit": {},
            "limits": {"latency_ms": "fast", "sise_bytes": 3},
            "runtime": {"onnxruntime_cpu": {"threads": 0, "thread": 2}},
        },
    )
    assert sorted(lines) == [
        "job.yaml: limit: unknown key; did you mean 'limits'?",
        "job.yaml: limits.latency_ms: must be a valid number, unable to parse string as a number, got 'fast'; "
        "change the value",
        "job.yaml: limits.sise_bytes: unknown key; did you mean 'size_bytes'?",
        "job.yaml: name: required, got nothing; add it",
        "job.yaml: rounds: must be greater than or equal to 1, got 0; change the value",
        "job.yaml: runtime.onnxruntime_cpu.thread: unknown key; did you mean 'threads'?",
        "job.yaml: runtime.onnxruntime_cpu.threads: must be greater than or equal to 1, got 0; change the value",
    ]


def test_an_unknown_key_like_no_other_lists_those_there_are() -> None:
    assert refusal(Limits, {"colour": 1}) == ["job.yaml: colour: unknown key; known here: latency_ms, size_bytes"]


@pytest.mark.parametrize(
    ("runtime", "line"),
    [
        ("onnxruntime_cpuu", "must be one of {names}, got 'onnxruntime_cpuu'; did you mean 'onnxruntime_cpu'?"),
        ("xyz", "must be one of {names}, got 'xyz'; choose one of: {names}"),
        (None, "must be one of {names}, got None; name one of them"),
        ({}, "must be a name or one {{name: parameters}}, got 0 keys; name one choice"),
        ({"a": {}, "b": {}}, "must be a name or one {{name: parameters}}, got 2 keys; name one choice"),
        ({1: {}}, "must be one of {names}, got 1; name one of them"),
    ],
)
def test_a_choice_that_is_none(runtime: object, line: str) -> None:
    from whc.plugins import names

    expected = "job.yaml: runtime: " + line.format(names=", ".join(names("runtimes")))
    assert refusal(Job, {"name": "x", "runtime": runtime}) == [expected]


@pytest.mark.parametrize("content", [None, 3, "text", ["name"]])
def test_what_is_not_a_mapping(content: object) -> None:
    (line,) = refusal(Job, content)
    assert line.startswith("job.yaml: must be")


def test_overlay_reads_values_as_yaml_and_leaves_its_input_alone() -> None:
    content = {"training": {"lr": 0.1, "seed": 3}}
    laid = overlay(content, {"training.lr": "1e-3", "model.width": "8", "name": "'8'", "flags": "[1, 2]"})
    assert laid == {"training": {"lr": 0.001, "seed": 3}, "model": {"width": 8}, "name": "8", "flags": [1, 2]}
    assert content == {"training": {"lr": 0.1, "seed": 3}}


def test_overlay_reaches_parameters_of_a_plugin() -> None:
    assignment = {"runtime.onnxruntime_cpu.threads": "2"}
    for runtime in ({}, {"runtime": "onnxruntime_cpu"}, {"runtime": {"onnxruntime_cpu": {"threads": 1}}}):
        job = validate(Job, overlay({"name": "x", **runtime}, assignment), "--set")
        assert job.model_dump(mode="json")["runtime"] == {"onnxruntime_cpu": {"threads": 2}}


def test_overlay_refuses_what_is_not_yaml() -> None:
    with pytest.raises(UsageError, match=r"--set a\.b: value must be YAML, got '\[1'; quote it"):
        overlay({}, {"a.b": "[1"})


@pytest.mark.parametrize(("folder", "name"), [("search_spaces", "tiny"), ("factory", "tiny.yaml")])
def test_shipped_files_are_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = shipped(folder, name)
    assert result.is_file()
    assert load_yaml(result)
    mine = tmp_path / folder / "tiny.yaml"
    mine.parent.mkdir()
    mine.write_text("a: 1\n")
    assert shipped(folder, name) == mine
    assert shipped(folder, str(result)) == result


def test_what_is_not_shipped_lists_what_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"search_spaces: no such file, got 'tinny'; shipped ones: .*tiny\.yaml"):
        shipped("search_spaces", "tinny")


def test_a_fingerprint_is_of_the_content_not_of_its_order() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1, "b": [1, 2]}) != fingerprint({"a": 1, "b": [2, 1]})
    assert len(fingerprint({})) == 16


@pytest.mark.parametrize(
    ("changes", "head"),
    [
        ({}, {"query": {"queries": 10, "heads": 4}}),
        ({"head": {"query": {"heads": 2}}}, {"query": {"queries": 10, "heads": 2}}),
        ({"head": "query"}, {"query": {"queries": 10, "heads": 4}}),
        ({"head": "centre"}, "centre"),
        ({"head": {"anchor": {"size": "exp"}}}, {"anchor": {"size": "exp"}}),
    ],
)
def test_changes_of_a_choice_keep_its_other_parameters(changes: dict[str, Any], head: object) -> None:
    base = {"task": "detection", "model": {"width": 8, "head": {"query": {"queries": 10, "heads": 4}}}}
    changed = laid_over(base, {"model": changes, "training": {"lr": 1}})
    assert changed == {"task": "detection", "model": {"width": 8, "head": head}, "training": {"lr": 1}}
    assert base["model"] == {"width": 8, "head": {"query": {"queries": 10, "heads": 4}}}

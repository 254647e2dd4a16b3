"""YAML in, models or readable errors out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from whc.config import Settings, dump_yaml, fingerprint, load_yaml, overlay, shipped, validate
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
        ("a: &loop [*loop]\n", "must be valid YAML"),
        ("[" * 5000, "must be valid YAML"),
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
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
INNER = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(TEXTS, INNER, max_size=4))
@example({"data_fingerprint": "1234567890123e45", "1e3": "2026-01-31"})
def test_what_is_dumped_is_read_back(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(dump_yaml(content), encoding="utf-8", newline="")
    assert load_yaml(path) == content


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
    found = shipped(folder, name)
    assert found.is_file()
    assert load_yaml(found)
    mine = tmp_path / folder / "tiny.yaml"
    mine.parent.mkdir()
    mine.write_text("a: 1\n")
    assert shipped(folder, name) == mine
    assert shipped(folder, str(found)) == found


def test_what_is_not_shipped_lists_what_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"search_spaces: no such file, got 'tinny'; shipped ones: .*tiny\.yaml"):
        shipped("search_spaces", "tinny")


def test_a_fingerprint_is_of_the_content_not_of_its_order() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1, "b": [1, 2]}) != fingerprint({"a": 1, "b": [2, 1]})
    assert len(fingerprint({})) == 16

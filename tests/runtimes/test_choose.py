"""A runtime is chosen by name; what it lacks is told in one line."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from whc import plugins
from whc.errors import RuntimeUnavailable, UsageError
from whc.runtimes import choose, library


@pytest.mark.parametrize("name", plugins.names("runtimes"))
def test_threads_are_for_those_that_have_them(name: str) -> None:
    choice = choose(name, 3)
    has_threads = "threads" in type(choice.config).model_fields
    assert has_threads == (name in ("onnxruntime_cpu", "openvino"))
    assert getattr(choice.config, "threads", None) == (3 if has_threads else None)
    assert choice.name == name


def test_unknown_name() -> None:
    with pytest.raises(UsageError, match=r"^runtime: must be one of onnxruntime_cpu, .*; did you mean 'openvino'\?$"):
        choose("openvin")


@pytest.mark.parametrize(
    ("name", "module"), [("openvino", "openvino"), ("tensorrt", "tensorrt"), ("tensorrt", "cuda.bindings.runtime")]
)
def test_a_missing_library_names_its_extra(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = module.partition(".")[0]
    monkeypatch.setitem(sys.modules, gone, None)
    message = rf"^runtime {name}: must be installed, got no module '{gone}[.a-z]*'; install whc\[{name}\]$"
    with pytest.raises(RuntimeUnavailable, match=message):
        library(name, module)


@pytest.mark.parametrize("name", ["openvino", "tensorrt"])
def test_loading_without_the_library_says_so(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    module: Any = plugins.load("runtimes", name)
    with pytest.raises(RuntimeUnavailable, match=rf"install whc\[{name}\]$"):
        module.load(tmp_path / "m.onnx", module.Config())


def test_a_library_that_lacks_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halfway.py").write_text("raise ImportError('libnvinfer.so.11: cannot open\\nmore of it')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeUnavailable) as caught:
        library("tensorrt", "halfway")
    message = "runtime tensorrt: must be installed, got libnvinfer.so.11: cannot open; install whc[tensorrt]"
    assert str(caught.value) == message


def test_the_extras_are_there() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"openvino", "tensorrt"} <= project["optional-dependencies"].keys()
    for extra in project["optional-dependencies"].values():
        assert not any(item.startswith("onnxruntime-gpu") for item in extra), "never beside onnxruntime"

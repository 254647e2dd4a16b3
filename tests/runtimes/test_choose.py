"""A runtime is chosen by name; what it lacks is told in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from whc import plugins, runtimes
from whc.errors import RuntimeUnavailable, UsageError
from whc.runtimes import choose, choose_for, library, suited


@pytest.mark.parametrize("name", plugins.names("runtimes"))
def test_threads_are_for_those_that_have_them(name: str) -> None:
    choice = choose(name, 3)
    has_threads = "threads" in type(choice.config).model_fields
    assert has_threads == (name in ("litert", "onnxruntime_cpu", "openvino"))
    assert getattr(choice.config, "threads", None) == (3 if has_threads else None)
    assert choice.name == name


def test_unknown_name() -> None:
    with pytest.raises(
        UsageError, match=r"^runtime: must be one of litert, onnxruntime_cpu, .*; did you mean 'openvino'\?$"
    ):
        choose("openvin")


@pytest.mark.parametrize(
    ("file", "expected"), [("m.onnx", "onnxruntime_cpu"), ("M.TFLITE", "litert"), ("m.bin", "onnxruntime_cpu")]
)
def test_the_file_chooses_where_the_user_does_not(file: str, expected: str) -> None:
    assert choose_for([Path(file), Path("other")], threads=2) == choose(expected, 2)
    assert suited(Path(file), choose("openvino", 2)) == (
        choose("litert", 2) if expected == "litert" else choose("openvino", 2)
    )


@pytest.mark.parametrize(("file", "name"), [("m.onnx", "litert"), ("m.tflite", "openvino")])
def test_a_runtime_that_reads_no_such_file(file: str, name: str) -> None:
    suffix = {"litert": r"\.tflite", "openvino": r"\.onnx"}[name]
    with pytest.raises(
        UsageError, match=rf"^runtime {name}: must be given a {suffix} file, got {file}; leave --runtime"
    ):
        choose_for([Path(file)], name)
    assert choose_for([Path(file), Path("b.onnx"), Path("b.tflite")], name).name == name


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


def put_package(folder: Path, name: str) -> None:
    """What pip leaves of a package, for those who ask what is installed."""
    information = folder / f"{name.replace('-', '_')}-9.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.0\n")


@pytest.fixture
def asked_anew() -> Iterator[None]:
    """Packages are asked for once a process."""
    runtimes._installed_onnxruntimes.cache_clear()
    yield
    runtimes._installed_onnxruntimes.cache_clear()


@pytest.mark.parametrize(("gpu", "package"), [(None, "onnxruntime"), ("/usr/bin/nvidia-smi", "onnxruntime-gpu")])
@pytest.mark.parametrize("name", ["onnxruntime_cpu", "onnxruntime_cuda"])
@pytest.mark.usefixtures("asked_anew")
def test_two_packages_of_onnxruntime_are_refused(
    name: str, gpu: str | None, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for installed in ("onnxruntime", "onnxruntime-gpu"):
        put_package(tmp_path, installed)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("shutil.which", lambda _: gpu)
    module: Any = plugins.load("runtimes", name)
    with pytest.raises(RuntimeUnavailable) as caught:
        module.load(tmp_path / "m.onnx", module.Config())
    message = str(caught.value)
    assert message.startswith(f"runtime {name}: only one of onnxruntime and onnxruntime-gpu must be installed, ")
    mend = f"run `pip uninstall --yes onnxruntime onnxruntime-gpu`, then `pip install {package}`"
    assert message.endswith(f", got both; {mend}")


@pytest.mark.parametrize(("gpu", "extra"), [(None, "cpu"), ("/usr/bin/nvidia-smi", "gpu")])
def test_without_onnxruntime_its_extras_are_named(
    gpu: str | None, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr("shutil.which", lambda _: gpu)
    module: Any = plugins.load("runtimes", "onnxruntime_cpu")
    with pytest.raises(RuntimeUnavailable) as caught:
        module.load(tmp_path / "m.onnx", module.Config())
    assert str(caught.value) == (
        "runtime onnxruntime_cpu: must be installed, got no module 'onnxruntime'; "
        f"install whc[{extra}], or whc[onnxruntime] on a device that only times"
    )

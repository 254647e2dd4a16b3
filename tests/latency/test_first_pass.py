"""Real files that want too much, in real processes: refused in time, and within the memory of a first pass."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from whc.errors import ArtifactError, RuntimeUnavailable
from whc.latency import first_pass
from whc.latency.bench import session
from whc.latency.timing import Protocol
from whc.plugins import ChoiceOf
from whc.runtimes import onnxruntime_cpu

Bad = Callable[[str], Path]
RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")
IMPORTS_BYTES = 200e6


def largest_child_bytes() -> int:
    """Memory of the largest of all this process's children that have ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def test_a_good_file_passes(good: Path) -> None:
    first_pass.check(good, RUNTIME)


@pytest.mark.parametrize("threads", [1, 64])
def test_threads_have_room_for_their_stacks(good: Path, threads: int) -> None:
    first_pass.check(good, ChoiceOf("runtimes").parse({"onnxruntime_cpu": {"threads": threads}}))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "must be an ONNX file, got nothing there; check the path"),
        ("text", "must be an ONNX file that ONNX Runtime can run, got: "),
        ("hungry", "Failed to allocate memory for requested buffer of size 4398046511104"),
        ("growing", "Failed to allocate memory"),
        ("huge_input", "input must have sizes above 0, and at most 50331648 numbers, got (1, 3, 60000, 30000); "),
        ("empty_input", "input must have sizes above 0, "),
    ],
)
def test_a_file_that_wants_too_much(bad: Bad, name: str, message: str) -> None:
    path, before = bad(name), largest_child_bytes()
    with pytest.raises(ArtifactError) as caught:
        first_pass.check(path, RUNTIME)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    # Another test's child may have been larger than that: then this one's was smaller still.
    assert largest_child_bytes() < max(before + 1, IMPORTS_BYTES + first_pass.BASE_MEMORY_BYTES)


def test_as_many_pictures_are_tried_as_will_be_run_at_once(tmp_path: Path) -> None:
    """A network that makes 69 MB of each picture: one is within the limit, 32 are not."""
    path = tmp_path / "tiles.onnx"
    graph = helper.make_graph(
        [helper.make_node("Tile", ["images", "times"], ["tiles"]), helper.make_node("ReduceMax", ["tiles"], ["out"])],
        "tiles",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [helper.make_tensor("times", TensorProto.INT64, [4], [1, 1, 300, 300])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    first_pass.check(path, RUNTIME)
    with pytest.raises(ArtifactError, match="Failed to allocate memory"):
        first_pass.check(path, RUNTIME, batch=32)


def test_a_loop_without_end_names_the_option_that_waits_longer(bad: Bad) -> None:
    path, started = bad("endless"), time.monotonic()
    with pytest.raises(ArtifactError) as caught:
        first_pass.check(path, RUNTIME, wait_s=1)
    assert str(caught.value) == (
        f"{path}: must load, and run for a moment, within 1 s, got no answer; "
        "wait longer with --wait SECONDS, or look for an endless loop in it"
    )
    assert 1 < time.monotonic() - started < 30


def test_a_gpu_may_build_engines_for_longer(bad: Bad, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_cpu, "ON_GPU", True)
    monkeypatch.setattr(first_pass, "Protocol", lambda **fields: Protocol(**({"timeout_s": 2.0} | fields)))
    with pytest.raises(ArtifactError, match="within 2 s, got no answer"):
        first_pass.check(bad("endless"), RUNTIME, wait_s=0.5)


def test_a_runtime_that_is_not_installed(tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "openvino.py").write_text("raise ImportError('torn library')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(RuntimeUnavailable, match="runtime openvino: must be installed, got torn library; "):
        first_pass.check(good, ChoiceOf("runtimes").parse("openvino"))


def test_what_is_refused_is_not_timed(good: Path, bad: Bad) -> None:
    quick = Protocol(block_ms=0.2, warmup_ms=1, min_rounds=5, max_rounds=5)
    result = session([bad("endless"), good], RUNTIME, quick, wait_s=1)
    assert [file.path for file in result.files] == [str(good)]
    assert "--wait SECONDS" in result.failed[0].reason
    with pytest.raises(ArtifactError, match="endless"):
        session([bad("endless")], RUNTIME, quick, wait_s=1)

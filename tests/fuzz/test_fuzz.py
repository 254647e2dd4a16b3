# ruff: noqa: E501 (tables of commands, a command a line)
"""Damaged, forged and odd input through the public commands: each ends in its own time, with a line and no traceback.

`WHC_FUZZ_INPUTS` says how many inputs (150), `WHC_FUZZ_SEED` which ones. A failure names the input's number, which alone
decides what it is: `WHC_FUZZ_ONLY=17` tries that one again, and its files stay in pytest's folder.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import whc.cli

litert: Any = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs the extra litert")

INPUTS = int(os.environ.get("WHC_FUZZ_INPUTS", "150"))
SEED = int(os.environ.get("WHC_FUZZ_SEED", "0"))
LIMIT_S = 30  # for a command with its imports on a busy machine; whoever waits for a file gives up after 5
LIMIT_BYTES = 1 << 30
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 10**30, int("9" * 400), 0.0, -0.5, 1e308, float("nan"), float("inf"), "", "x", "[/red]",
    "[bold]x", "../../..", "/etc/passwd", "a" * 300, "\u0000", "\udcff", "\x1b[2J", "é漢字🙂", "1e999", "{}", "%s%n", "a\nb",
    [], [1], [[1, [2]]], {}, {"a": {"b": 1}}, {"float": [0, 1]}, {"int": [0, 10**12]}, ["x", "x"],
)  # fmt: skip
Mutation = Callable[[random.Random, Path], None]


class _Hang(BaseException):
    """Raised by the alarm; no handler of errors takes it for one."""


# What is done to a file ------------------------------------------------------------------------------------------------


def _bytes(rng: random.Random, path: Path) -> None:
    """Cut, change, repeat or insert bytes."""
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(len(content) + 1)
        some = rng.choice([1, 4, 64, len(content) // 2])
        kind = rng.choice(["cut", "change", "repeat", "insert", "blank", "swap"])
        if kind == "cut":
            del content[at:]
        elif kind == "change":
            content[at : at + 4] = rng.randbytes(4)
        elif kind == "repeat":
            content[at:at] = content[at : at + some]
        elif kind == "insert":
            content[at:at] = rng.randbytes(some)
        elif kind == "blank":
            content[at : at + some] = bytes(min(some, len(content) - at))
        else:
            content = content[at:] + content[:at]
    path.write_bytes(content)


def _tree(rng: random.Random, value: Any) -> Any:
    """A nested value with one of its places changed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        kind = rng.random()
        if kind < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if kind < 0.2:
            return {**value, str(rng.choice(["x", key.upper(), "[/b]", "a" * 300, "float", "include"])): value[key]}
        return {**value, key: _tree(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], _tree(rng, value[at]), *value[at + 1 :]]
    if isinstance(value, (int, float)) and rng.random() < 0.5:
        return value * rng.choice([-1, 0, 0.5, 1000, 10**18])
    return rng.choice(ODD)


def _json(rng: random.Random, path: Path) -> None:
    path.write_text(json.dumps(_tree(rng, json.loads(path.read_text()))))


def _yaml(rng: random.Random, path: Path) -> None:
    """One place changed; now and then aliases that grow, or thousands of brackets."""
    if rng.random() < 0.1:
        levels = rng.randrange(3, 12)
        bomb = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]\n" for i in range(levels))
        text = rng.choice(
            [bomb, "a: " + "[" * 20_000, "space: {<<: &x {a: 1}, <<: *x}", "? [a]\n: b", "a: !!python/object:os.x {}"]
        )
        path.write_text(path.read_text() + text)
        return
    changed = _tree(rng, yaml.safe_load(path.read_text()))
    path.write_bytes(yaml.safe_dump(changed, allow_unicode=True).encode("utf-8", "surrogatepass"))


def _rows(rng: random.Random, path: Path) -> None:
    """A column of another type, name or content."""
    table = pq.read_table(path)
    name = rng.choice(table.column_names)
    count, at = table.num_rows, table.column_names.index(name)
    column: Any = rng.choice([
        lambda: pa.array([rng.choice(["train", "[/x]", "", "a" * 300, "\x1b[2J"]) for _ in range(count)]),
        lambda: pa.array([rng.choice([None, b"", b"\x89PNG\r\n\x1a\n", rng.randbytes(50)]) for _ in range(count)], pa.binary()),
        lambda: pa.array([rng.choice([0, -1, 5, 2**40, None]) for _ in range(count)], pa.int64()),
        lambda: pa.array([{"bytes": b"x", "path": "../../x"}] * count),
        lambda: pa.array([[1, 2]] * count),
        lambda: pa.array([float("nan")] * count),
        lambda: pa.nulls(count),
        lambda: table[name].combine_chunks().dictionary_encode(),
        lambda: pa.array(rng.sample(table[name].to_pylist(), count), table[name].type),
    ])  # fmt: skip
    try:
        made = column()
    except pa.ArrowException:
        made = pa.nulls(count)
    kind = rng.random()
    if kind < 0.15:
        table = table.drop_columns([name])
    elif kind < 0.25:
        table = table.rename_columns(["other" if one == name else one for one in table.column_names])
    elif kind < 0.35:
        table = table.slice(0, rng.choice([0, 1, 3]))
    else:
        table = table.set_column(at, name, made)
    if rng.random() < 0.2:
        key = rng.choice([b"whc.frame_rate", b"huggingface", b"whc.labels", b"pandas"])
        table = table.replace_schema_metadata(
            {key: rng.choice([b"", b"-1", b"{", b"\xff", b"[1]", b'{"info": 1}', b"9" * 400])}
        )
    pq.write_table(table, path)


def _network(rng: random.Random, path: Path) -> None:
    """Metadata, sizes or operators of an ONNX file changed."""
    model = onnx.load(path)
    kind = rng.random()
    if kind < 0.5:
        item = rng.choice(list(model.metadata_props))
        odd = rng.choice([value for value in ODD if value != "\udcff"])  # protobuf takes no such text
        item.value = odd if isinstance(odd, str) else json.dumps(odd)
    elif kind < 0.65:
        size = rng.choice(model.graph.input).type.tensor_type.shape.dim[rng.randrange(4)]
        size.dim_value = rng.choice([0, 1, 7, 60_000, 2**40])
    elif kind < 0.8:
        node = rng.choice(list(model.graph.node))
        node.op_type = rng.choice(["Relu", "Loop", "NoSuch", "Sigmoid", "Concat", "Resize", "Expand"])
    elif kind < 0.9:
        tensor = rng.choice(list(model.graph.initializer))
        tensor.raw_data = rng.choice([b"", bytes(len(tensor.raw_data)), b"\xff" * len(tensor.raw_data)])
    else:
        del model.graph.node[rng.randrange(len(model.graph.node))]
    path.write_bytes(model.SerializeToString())


def _litert(rng: random.Random, path: Path) -> None:
    """Metadata, sizes, operators or numbers of a LiteRT file changed."""
    model: Any = litert.ModelT.InitFromObj(litert.Model.GetRootAs(path.read_bytes()))
    graph, kind = model.subgraphs[0], rng.random()
    if kind < 0.4:
        buffer = model.buffers[model.metadata[0].buffer]
        properties = _tree(rng, json.loads(bytes(buffer.data)))
        text = rng.choice([json.dumps(properties).encode(), b"", b"{", b"\xff", b"[" * 20_000])
        buffer.data = np.frombuffer(text, np.uint8)
    elif kind < 0.6:
        tensor = rng.choice(graph.tensors)
        tensor.shape = rng.choice(
            [[], [-1], [1, 8, 8, 3], [0, 8, 8, 3], [1, 8, 8, 7], [1, 60_000, 60_000, 3], [2**31 - 1] * 4]
        )
    elif kind < 0.75:
        (code,) = model.operatorCodes
        code.builtinCode = code.deprecatedBuiltinCode = rng.choice(
            [litert.BuiltinOperator.ADD, litert.BuiltinOperator.CONV_2D, litert.BuiltinOperator.CUSTOM, 120]
        )
    elif kind < 0.9:
        tensor = rng.choice(graph.tensors)
        tensor.buffer = rng.choice([0, 1, 2, 3, 2**31])
        tensor.type = rng.choice([0, 1, 4, 9, 17])
    else:
        places = [[], [0], [2], [7], [-1]]
        graph.inputs, graph.outputs = rng.choice(places), rng.choice(places)
        model.metadata[0].buffer = rng.choice([0, 2, 2**31])
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


# Which commands read it --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """A file below the user's folder, what is done to it, and the commands that read it."""

    file: str
    mutations: tuple[Mutation, ...]
    commands: tuple[str, ...]
    weight: int


TRIAL = "runs/fuzz-1/trials/00000"
KINDS = (
    Kind("data/dataset.parquet", (_rows, _rows, _bytes), (
        "data info data/dataset.parquet", "predict --model model.onnx --source data/dataset.parquet --out o.csv",
        "data info data/dataset.parquet", "search --space space.yaml --data data/dataset.parquet --dry-run",
        "train --data data/dataset.parquet --out t --set training.epochs=1 --set model.image_size=16 --set model.width=4"), 6),
    Kind("space.yaml", (_yaml, _yaml, _bytes), ("search --space space.yaml --dry-run",), 6),
    Kind("recipe.yaml", (_yaml, _bytes), ("factory build-table --recipe recipe.yaml --study none",
                                          "factory build-table --recipe recipe.yaml --no-register --latency-from none.json"), 2),
    Kind("checkpoint.pt", (_bytes,), ("export --checkpoint checkpoint.pt --out x.onnx",
                                      "predict --model checkpoint.pt --source images --out o.csv"), 2),
    Kind("model.onnx", (_network, _network, _bytes), ("predict --model model.onnx --source images --out o.csv",
                                                      "demo --headless --model model.onnx --source images --csv d.csv"), 5),
    Kind("model.tflite", (_litert, _litert, _bytes), ("predict --model model.tflite --source images --out o.csv",
                                                      "demo --headless --model model.tflite --source images --csv d.csv",
                                                      "val --model model.tflite --data data/dataset.parquet",
                                                      "export --model model.tflite --bundle b"), 4),
    Kind(f"{TRIAL}/record.json", (_json, _json, _bytes), ("studies show fuzz-1", "studies", "studies show fuzz-1 --json"), 4),
    Kind("runs/fuzz-1/study.yaml", (_yaml, _yaml, _bytes), ("studies show fuzz-1", "studies --json"), 3),
    Kind(f"{TRIAL}/checkpoint.pt", (_bytes,), ("studies show fuzz-1", f"export --checkpoint {TRIAL}/checkpoint.pt --out x.onnx"), 1),
    Kind("recorded.parquet", (_rows, _bytes), (
        "search --replay recorded.parquet --space recorded.yaml --trials 3",), 1),
    Kind("runs/fuzz-1/trials/00001/record.json", (_json,), (
        "factory build-table --no-register --recipe recipe.yaml",), 1),
    Kind("device.json", (_json, _bytes), ("factory build-table --no-register --latency-from device.json --recipe none",), 1),
    Kind("images/train/still/0.png", (_bytes,), ("predict --model model.onnx --source images --out o.csv",
                                                 "data build --images images --out built",
                                                 "demo --headless --model model.onnx --source images/train/still/0.png"), 3),
    Kind("images/val/waving/1.jpg", (_bytes,), ("predict --model model.onnx --source images/val/waving --out o.csv",
                                                "data build --images images --split 40/30/30 --out built"), 2),
    Kind("clip.mp4", (_bytes,), ("predict --model model.onnx --source clip.mp4 --out o.csv",
                                 "demo --headless --model model.onnx --source clip.mp4 --csv d.csv --save d.webm"), 2),
    Kind("clip.avi", (_bytes,), ("predict --model model.onnx --source clip.avi --out o.csv",), 1),
    Kind("clip.webm", (_bytes,), ("predict --model model.onnx --source clip.webm --out o.csv",), 1),
    Kind("mlflow/server.yaml", (_yaml, _bytes), ("demo --headless --model whc_m",), 1),
)  # fmt: skip
OPTIONS = (
    "predict --model {} --source images --out o.csv", "predict --model model.onnx --source {} --out o.csv",
    "predict --model model.onnx --source images --out {}", "predict --model model.onnx --source images --out o.csv --region {}",
    "predict --model model.onnx --source data/dataset.parquet --out o.csv --split {}", "demo --headless --model model.onnx --source {}",
    "demo --headless --model model.onnx --source images --save {}", "data info {}", "data build --images {} --out built",
    "data build --images images --out built --split {}", "data build --images images --out built --group {}",
    "data build --images images --out built --labels {}", "data build --videos images --out built --fps {}", "studies show {}",
    "search --space {} --dry-run", "search --space space.yaml --dry-run --data {}", "search --resume --study {}",
    "train --data data/dataset.parquet --out t --set {}=1", "train --data data/dataset.parquet --out t --set training.epochs={}x",
    "train --data {} --out t", "export --checkpoint {} --out x.onnx", "export --checkpoint checkpoint.pt --out {}",
    "factory build-table --study {}", "factory build-table --recipe {}", "bench {}", "search --replay {} --space space.yaml",
)  # fmt: skip
WORDS = ("a" * 300, "[/red]", "[bold]", "é漢字", "\udcff", "\x1b[2J", "a\nb", "", " ", "/", ".", "..", "/dev/null", "loop.png", "-1",
         "99999999999999999999", "nan", "1e999", "0,0,1,1,1", "a/" * 600, "(", "(a", "images", "space.yaml", "/proc/self/mem")  # fmt: skip


@dataclass(frozen=True)
class Input:
    """One try: what was done to which file, and the command."""

    number: int
    what: str
    arguments: list[str]


def _prepare(number: int, samples: Path, home: Path) -> Input:
    """Lay out a user's folder, spoil something in it, and choose the command that meets it."""
    rng = random.Random(f"{SEED}/{number}")
    home.mkdir()
    for item in samples.iterdir():
        (home / item.name).symlink_to(item)
    (home / "loop.png").symlink_to("loop.png")
    if rng.random() < 0.2:
        command, word = rng.choice(OPTIONS), rng.choice(WORDS)
        return Input(number, repr(word), [part.replace("{}", word) for part in command.split()])
    kind = rng.choices(KINDS, [kind.weight for kind in KINDS])[0]
    mutation = rng.choice(kind.mutations)
    mutation(rng, _own_copy(samples, home, kind.file))
    return Input(number, f"{mutation.__name__[1:]} of {kind.file}", rng.choice(kind.commands).split())


def _own_copy(samples: Path, home: Path, file: str) -> Path:
    """Replace the links on the way to a file by folders of this input's own, and the last one by a copy."""
    there, here = samples, home
    for part in Path(file).parts:
        there, here = there / part, here / part
        here.unlink()
        if there.is_dir():
            here.mkdir()
            for item in there.iterdir():
                (here / item.name).symlink_to(item)
        else:
            shutil.copyfile(there, here)
    return here


# How it went -----------------------------------------------------------------------------------------------------------


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise _Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _largest_child_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10


def _try(given: Input, capture: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the command; a few words on what is wrong with how it ended, nothing if all is well."""
    monkeypatch.setattr(sys, "argv", ["whc", *given.arguments])
    _forget_peak()
    before = _peak_bytes()
    try:
        with _alarm(LIMIT_S):
            whc.cli.main()
    except SystemExit as end:
        grown = _peak_bytes() - before
        return f"memory: {grown >> 20} MiB" if grown > LIMIT_BYTES else _said(end.code, capture.readouterr().err)
    except _Hang:
        return f"hang: no answer within {LIMIT_S} s"
    except BaseException as error:  # noqa: BLE001 (this is what is looked for)
        place = traceback.extract_tb(error.__traceback__)[-1]
        file = place.filename.rpartition("site-packages/")[2]
        return f"traceback: {type(error).__name__}: {str(error)[:100]!r} at {file}:{place.lineno}"
    return "no exit code"


def _said(code: object, err: str) -> str:
    """What is wrong with how a command that ended told so."""
    if "Traceback" in err:
        return f"traceback on stderr: {err.strip().splitlines()[-1][:150]}"
    if code not in (0, 1, 2):
        return f"exit code {code}"
    return f"exit code {code} without a reason: {err[-100:]!r}" if code and "error: " not in err else ""


def test_no_input_ends_in_a_traceback(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    only = os.environ.get("WHC_FUZZ_ONLY")
    numbers = [int(only)] if only else range(INPUTS)
    wrong, kinds, slowest = [], Counter[str](), (0.0, "")
    start, before = time.monotonic(), _largest_child_bytes()
    for number in numbers:
        home = tmp_path / str(number)
        given = _prepare(number, samples, home)
        monkeypatch.chdir(home)
        begun = time.monotonic()
        problem = _try(given, capfd, monkeypatch)
        slowest = max(
            slowest, (time.monotonic() - begun, f"{number}: {given.what}: {' '.join(given.arguments)[:80]!r}")
        )
        capfd.readouterr()
        monkeypatch.chdir(tmp_path)
        kinds[given.what.rpartition(" of ")[2] if " of " in given.what else "options"] += 1
        if problem:
            wrong.append(f"{number}: {given.what}: whc {' '.join(given.arguments)[:120]!r}: {problem}")
        else:
            shutil.rmtree(home)
    children = _largest_child_bytes()
    with capfd.disabled():
        print(f"\n{len(numbers)} inputs in {time.monotonic() - start:.0f} s, {len(wrong)} wrong; {dict(kinds)}")
        print(f"slowest {slowest[0]:.1f} s: {slowest[1]}; the largest child took {children >> 20} MiB")
        print(*wrong, sep="\n")
    assert not wrong
    assert children <= max(before, 2 * LIMIT_BYTES)  # its imports among them; another test's may have been larger

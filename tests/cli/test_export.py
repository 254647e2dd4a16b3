"""`whc export`: its forms of a file, what the other commands make of them, and checkpoints that are none."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from whc.demo.web import runtime_files
from whc.errors import UsageError
from whc.training.checkpoint import CHECKPOINT_SCHEMA, Checkpoint, save
from whc.trials.artifacts import untrained
from whc.trials.config import TrialConfig

Run = Callable[..., Any]
LABELS = ["still", "waving"]


def checkpoint(**model: object) -> Checkpoint:
    config = TrialConfig.model_validate({"model": {"width": 4, "depth": 2, "image_size": 16, **model}})
    return Checkpoint(
        config=config.resolved(),
        weights=dict(untrained(config, LABELS).state_dict()),
        labels=LABELS,
        frame_rate=10.0,
        data_fingerprint="f00d",
        code_version="test",
        epoch=1,
        val_score=0.5,
    )


def original() -> dict[str, Any]:
    """What a file of the original projects holds, of a network with the same weights as ours."""
    names = {"backbone.": "", "head.layers.": "head."}
    state = dict(checkpoint().weights)
    for ours, theirs in names.items():
        state = {name.replace(ours, theirs): tensor for name, tensor in state.items()}
    return {
        "model_config": {"base_channels": 4, "num_blocks": 2, "arch_variant": "baseline", "head_variant": "auto"},
        "model_state": state,
        "normalization": {"mean": [0.0] * 3, "std": [1.0] * 3, "image_size": [16, 16]},
        "label_map": {0: "still", 1: "waving"},
        "epoch": 1,
    }


def sizes(path: Path) -> list[int | str]:
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    return [size.dim_param or size.dim_value for size in shape]


FORMS: dict[str, tuple[str, str, list[int | str], int]] = {
    "plain": ("none", "", ["batch", 3, 16, 16], 18),
    "static": ("frame_stack", "--static", [1, 12, 16, 16], 18),
    "dynamic lstm": ("lstm", "--dynamic-sequence", ["batch", "frames", 3, 16, 16], 18),
    "dynamic cnn3d": ("cnn3d", "--dynamic-sequence --opset 21", ["batch", 3, "frames", 16, 16], 21),
    "static lstm": ("lstm", "--static --opset 20", [1, 4, 3, 16, 16], 20),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_asked_for_is_written_and_runs_in_the_demo(form: str, home: Path, whc_command: Run) -> None:
    sequence, options, expected, opset = FORMS[form]
    save(checkpoint(sequence=sequence), home / "c.pt")
    ended = whc_command("export", "--checkpoint", "c.pt", "--out", "new/m.onnx", *options.split(), "--json")
    assert (ended.code, ended.err) == (0, "")
    out = home / "new" / "m.onnx"
    assert json.loads(ended.out) == {"onnx": str(Path("new", "m.onnx")), "size_bytes": out.stat().st_size}
    assert [file.name for file in out.parent.iterdir()] == ["m.onnx"]
    assert sizes(out) == expected
    assert [item.version for item in onnx.load(out).opset_import] == [opset]
    shown = whc_command("demo", "--headless", "--model", out, "--json")
    assert (shown.code, shown.err) == (0, "")
    told = json.loads(shown.out)
    assert told["decisions"] == told["frames"] - (0 if sequence == "none" else 3)


def test_a_bundle_of_a_checkpoint_and_of_its_file(home: Path, whc_command: Run) -> None:
    save(checkpoint(sequence="lstm"), home / "c.pt")
    ended = whc_command("export", "--checkpoint", "c.pt", "--out", "m.onnx", "--bundle", "one", "--dynamic-sequence")
    assert (ended.code, ended.err) == (0, "")
    assert [line.split(": ")[0] for line in ended.out.splitlines()] == ["m.onnx", "one"]
    ended = whc_command("export", "--model", "m.onnx", "--bundle", "two.zip", "--json")
    assert (ended.code, json.loads(ended.out)) == (0, {"bundle": "two.zip"})
    with zipfile.ZipFile(home / "two.zip") as packed:
        assert packed.read("two/model.onnx") == (home / "m.onnx").read_bytes()
    done = subprocess.run([sys.executable, "one/run.py"], capture_output=True, text=True, check=True, cwd=home)
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["path", "003.png"]
    whc_command("export", "--model", "m.onnx", "--out", "copy.onnx")
    assert (home / "copy.onnx").read_bytes() == (home / "m.onnx").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--out m.onnx", "must be given either --checkpoint or --model, got 'neither'"),
        ("--checkpoint c.pt --model m.onnx --out n.onnx", "must be given either --checkpoint or --model, got 'both'"),
        ("--checkpoint c.pt", "must be given --out, --bundle or --html, got 'none of them'"),
        ("--checkpoint c.pt --html", "--html: must be given a file, or come with --bundle, got neither"),
        ("--checkpoint c.pt --html page.txt", "--html: must be a file that ends in .html, got 'page.txt'"),
        ("--checkpoint c.pt --out m.onnx --detect face", "--detect: must come with --html, got 'face'"),
        ("--model m.onnx --bundle b --opset 20", "--model: must be given alone, as the file is fixed, got 'opset'"),
        ("--model m.onnx --bundle b --static", "--model: must be given alone, as the file is fixed, got 'static'"),
    ],
)
def test_what_does_not_go_together(arguments: str, told: str, home: Path, whc_command: Run) -> None:
    ended = whc_command("export", *arguments.split())
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert ended.err.count("\n") == 1
    assert not list(home.iterdir())


def test_bench_of_open_frames_needs_to_know_how_many(home: Path, whc_command: Run) -> None:
    save(checkpoint(sequence="lstm"), home / "c.pt")
    whc_command("export", "--checkpoint", "c.pt", "--out", "known.onnx", "--dynamic-sequence")
    model = onnx.load(home / "known.onnx")
    del model.metadata_props[:]
    onnx.save(model, home / "unknown.onnx")
    ended = whc_command("bench", "known.onnx", "unknown.onnx", "--json")
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert line.startswith("error: unknown.onnx: must have fixed sizes, ")
    assert line.endswith("; fix 'frames' by `whc export` or onnxruntime.tools.make_dynamic_shape_fixed")
    assert '"known.onnx"' in ended.out


SIMPLIFIER_FAILS = """
import onnxsim

def fail(*args, **kwargs):
    raise RuntimeError("no such luck")

onnxsim.simplify = fail
from whc.cli import main
main()
"""


def test_a_graph_that_cannot_be_simplified_is_told_and_kept(home: Path) -> None:
    save(checkpoint(), home / "c.pt")
    command = [sys.executable, "-c", SIMPLIFIER_FAILS, "export", "--checkpoint", "c.pt", "--out", "m.onnx", "--json"]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, cwd=home)
    assert ended.stderr == "m.onnx: onnxsim could not simplify the graph (no such luck); the plain graph is kept\n"
    assert json.loads(ended.stdout)["size_bytes"] == (home / "m.onnx").stat().st_size


def test_a_page(home: Path, whc_command: Run) -> None:
    try:
        runtime_files.runtime_files()
    except UsageError as error:
        pytest.skip(str(error))
    save(checkpoint(), home / "c.pt")
    ended = whc_command("export", "--checkpoint", "c.pt", "--html", "page.html")
    assert ended.code == 0, ended.err
    size = (home / "page.html").stat().st_size
    expected = f"page.html: {size / 1000:.1f} KB, most of it onnxruntime-web, which runs the model in the browser\n"
    assert ended.out == expected
    assert size < 8e6
    ended = whc_command("export", "--checkpoint", "c.pt", "--bundle", "bundle", "--html")
    assert ended.code == 0, ended.err
    assert '"name": "c"' in (home / "bundle" / "run.html").read_text("utf-8")


def test_without_its_runtime_there_is_no_page(home: Path, whc_command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_files, "runtime_files", partial(runtime_files.runtime_files, home))
    save(checkpoint(), home / "c.pt")
    for arguments in ("export --checkpoint c.pt --html page.html", "demo --model m.onnx --web"):
        ended = whc_command(*arguments.split())
        assert (ended.code, ended.out) == (2, "")
        (line,) = ended.err.splitlines()
        assert line.endswith("; run `make web`")
    assert [file.name for file in home.iterdir()] == ["c.pt"]


REFUSED: dict[str, tuple[str, str, str]] = {
    "both": ("lstm", "--static --dynamic-sequence", "export: static and dynamic_sequence exclude each other, got both"),
    "still": (
        "none",
        "--dynamic-sequence",
        "export: dynamic_sequence: needs a network that takes any number of frames",
    ),
    "stacked": ("frame_stack", "--dynamic-sequence", "export: dynamic_sequence: needs a network that takes any number"),
    "old opset": ("none", "--opset 17", "export: opset: must be greater than or equal to 18, got 17; "),
    "new opset": ("none", "--opset 99", "export: opset: must be less than or equal to 25, got 99; "),
    "no opset": ("none", "--opset new", "Invalid value for '--opset': 'new' is not a valid integer; "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_forms_that_are_refused(case: str, home: Path, whc_command: Run) -> None:
    sequence, options, said = REFUSED[case]
    save(checkpoint(sequence=sequence), home / "c.pt")
    ended = whc_command("export", "--checkpoint", "c.pt", "--out", "m.onnx", *options.split())
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith(f"error: {said}")
    assert [file.name for file in home.iterdir()] == ["c.pt"]


@pytest.mark.parametrize("out", ["c.pt/m.onnx", f"{'m' * 300}.onnx", "/proc/m.onnx"])
def test_files_that_cannot_be_written(out: str, home: Path, whc_command: Run) -> None:
    save(checkpoint(), home / "c.pt")
    ended = whc_command("export", "--checkpoint", "c.pt", "--out", out)
    assert (ended.code, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert out.startswith(line.removeprefix("error: ").partition(": ")[0])
    assert line.endswith("choose another path") or "; check the path" in line


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return subprocess.call, (["touch", str(self.trace)],)


def ours(**changes: object) -> dict[str, Any]:
    plain = checkpoint()
    return {
        "schema": CHECKPOINT_SCHEMA,
        **{name: getattr(plain, name) for name in plain.__dataclass_fields__},
        **changes,
    }


def theirs(key: str, **changes: object) -> dict[str, Any]:
    content = original()
    return {**content, key: {**content[key], **changes}}


def without(content: dict[str, Any], *path: str) -> dict[str, Any]:
    *parents, last = path
    inner = content
    for key in parents:
        inner = inner[key]
    del inner[last]
    return content


def torn(path: Path, keep: float) -> None:
    torch.save(ours(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


def forged(path: Path) -> None:
    """A sound archive, but for one opcode of its pickle."""
    torch.save(ours(), path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(b"\x89", b"\x86") if name.endswith("data.pkl") else content)


def safetensors(path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))


def not_onnx(path: Path) -> None:
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])), path)


def compressed(path: Path) -> None:
    """Zeros, of which a thousand take a byte."""
    torch.save(ours(weights={"a": torch.zeros(100_000)}), path)
    with zipfile.ZipFile(path) as whole:
        items = {item.filename: whole.read(item) for item in whole.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as small:
        for name, content in items.items():
            small.writestr(name, content)


LARGE = checkpoint(width=256)
# Over 4 GB.
WIDE = {"model": {"backbone": "inverted_se", "width": 512, "depth": 16, "image_size": 512}}
ALONE = "x.pt: must be a checkpoint written by whc, got 'not weights and plain values alone (code is never run)'"
WHOLE = "x.pt: must hold all fields of a checkpoint, got: "
NO_ZIP = "x.pt: must be a checkpoint written by whc, got 'File is not a zip file'"
FIT = "x.pt: weights must fit the configuration, got: "
# What the file holds, or what makes it; how the line goes on; its next step.
BAD: dict[str, tuple[dict[str, Any] | Callable[[Path], object], str, str]] = {
    "empty": (lambda path: path.touch(), NO_ZIP, "train it again"),
    "a folder": (
        lambda path: path.mkdir(),
        "x.pt: must be a readable checkpoint, got Is a directory",
        "check the path",
    ),
    "half of it": (lambda path: torn(path, 0.5), NO_ZIP, "train it again"),
    "nearly all of it": (lambda path: torn(path, 0.99), NO_ZIP, "train it again"),
    "forged": (forged, "x.pt: must ", "train it again"),
    "safetensors": (safetensors, NO_ZIP, "train it again"),
    "onnx": (not_onnx, NO_ZIP, "train it again"),
    "a bomb": (lambda path: torch.save(ours(study=Bomb(path.with_name("boom"))), path), ALONE, "train it again"),
    "a bomb in an original": (
        lambda path: torch.save({**original(), "more": Bomb(path.with_name("boom"))}, path),
        ALONE,
        "train it again",
    ),
    "a bomb in the old format": (
        lambda path: torch.save(Bomb(path.with_name("boom")), path, _use_new_zipfile_serialization=False),
        NO_ZIP,
        "train it again",
    ),
    "a bare bomb": (
        lambda path: path.write_bytes(pickle.dumps(Bomb(path.with_name("boom")))),
        NO_ZIP,
        "train it again",
    ),
    "a whole network": (lambda path: torch.save(torch.nn.Linear(1, 1), path), ALONE, "train it again"),
    "newer": (
        ours(schema=CHECKPOINT_SCHEMA + 1),
        f"x.pt: checkpoint schema must be at most {CHECKPOINT_SCHEMA}, got ",
        "upgrade whc",
    ),
    "newer fields": (ours(mood="good"), f"{WHOLE}mood: ", "train it again"),
    "no labels": (without(ours(), "labels"), f"{WHOLE}labels: Field required", "train it again"),
    "labels of numbers": (ours(labels=[0, 1]), f"{WHOLE}labels.0: ", "train it again"),
    "no weights": (ours(weights=None), f"{WHOLE}weights: ", "train it again"),
    "weights of text": (ours(weights={"a": "b"}), f"{WHOLE}weights.a: ", "train it again"),
    "weights of numbers": (ours(weights={1: torch.ones(1)}), f"{WHOLE}weights.1.[key]: ", "train it again"),
    "a rate of text": (ours(frame_rate="fast"), f"{WHOLE}frame_rate: ", "train it again"),
    "weights of another network": (ours(weights=checkpoint(width=8).weights), FIT, "train it again"),
    "weights lack one": (
        without(ours(), "weights", "backbone.stem.0.weight"),
        f"{FIT}no backbone.stem.0.weight",
        "train it again",
    ),
    "weights of one number": (
        ours(config=LARGE.config, weights={name: torch.ones(()).expand(w.shape) for name, w in LARGE.weights.items()}),
        "x.pt: must be a checkpoint written by whc, got 'weights of more bytes than the file has'",
        "train it again",
    ),
    "a wide one": (
        ours(config=WIDE),
        f"{FIT}backbone.stem.0.weight of (4, 3, 3, 3), not (512, 3, 3, 3)",
        "train it again",
    ),
    "compressed": (
        compressed,
        "x.pt: must be a checkpoint written by whc, got 'more in it than the file holds'",
        "train it again",
    ),
    "a configuration of nonsense": (ours(config={"model": {"widht": 4}}), "x.pt: model.widht: unknown key", "'width'?"),
    "weights alone": (checkpoint().weights, "x.pt: must be a checkpoint written by whc, got 'dict'", "train it again"),
    "an original's weights lack one": (
        without(original(), "model_state", "stem.0.weight"),
        f"{FIT}no backbone.stem.0.weight",
        "train it again",
    ),
    "an original of another width": (theirs("model_config", base_channels=8), FIT, "train it again"),
    "an original without labels": (
        without(original(), "label_map"),
        'x.pt: must be a checkpoint written by whc, got "an original\'s without label_map"',
        "train it again",
    ),
    "an original with a gap": (
        {**original(), "label_map": {0: "still", 2: "waving"}},
        "x.pt: label_map: must give the classes 0 and 1 a name each, got ",
        "export it where it was trained",
    ),
    "an original with three labels": (
        {**original(), "label_map": {0: "a", 1: "b", 2: "c"}},
        "x.pt: label_map: must give the classes 0 and 1 a name each, got ",
        "export it where it was trained",
    ),
    "an original with one name for both": (
        {**original(), "label_map": {0: "a", 1: "a"}},
        "x.pt: label_map: must give the classes 0 and 1 a name each, got ",
        "export it where it was trained",
    ),
    "an original with labels the other way round": (
        {**original(), "label_map": {"still": 0, "waving": 1}},
        "x.pt: label_map.still.[key]: ",
        "export it where it was trained",
    ),
    "an original without a size": (
        without(original(), "normalization", "image_size"),
        "x.pt: normalization.image_size: Field required",
        "export it where it was trained",
    ),
    "an original of an unknown network": (
        theirs("model_config", arch_variant="resnet"),
        "x.pt: model.backbone: must be one of baseline, convnext, efficientnet, inverted_se, patches, plain, uhd, "
        "got 'resnet'",
        "choose one of: baseline, convnext, efficientnet, inverted_se, patches, plain, uhd",
    ),
    "an original whose grid does not fit": (
        theirs("model_config", head_variant="mlp_mixer", token_mixer_grid=(3, 5)),
        "x.pt: model: grid must divide the feature map of 8x8, got 3x5",
        "rows that fit: 1, 2, 4, 8, columns: 1, 2, 4, 8",
    ),
}


def check(ended: Any, home: Path, said: str, advice: str) -> None:
    assert (ended.code, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert line.startswith(f"error: {said}")
    assert line.endswith(advice)
    assert [file.name for file in home.iterdir()] == ["x.pt"], "no file written, and no code run"


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_checkpoint(case: str, home: Path, whc_command: Run) -> None:
    content, said, advice = BAD[case]
    if callable(content):
        content(home / "x.pt")
    else:
        torch.save(content, home / "x.pt")
    check(whc_command("export", "--checkpoint", "x.pt", "--out", "m.onnx"), home, said, advice)


def test_a_bomb_in_a_process_of_its_own(home: Path, whc_process: Run) -> None:
    torch.save(ours(study=Bomb(home / "boom")), home / "x.pt")
    check(whc_process("export", "--checkpoint", "x.pt", "--out", "m.onnx"), home, ALONE, "train it again")
    torch.load(home / "x.pt", weights_only=False)
    assert (home / "boom").exists(), "the bomb is live: it goes off where code may run"


def test_an_original_and_ours_of_the_same_weights_agree(home: Path, whc_command: Run) -> None:
    from whc.runtimes import onnxruntime_cpu

    torch.save(original(), home / "theirs.pt")
    save(checkpoint(), home / "ours.pt")
    outputs = []
    for name in ("theirs", "ours"):
        assert whc_command("export", "--checkpoint", f"{name}.pt", "--out", f"{name}.onnx").code == 0
        session = onnxruntime_cpu.load(home / f"{name}.onnx", onnxruntime_cpu.Config())
        outputs.append(session.run(np.random.default_rng(0).random((5, 3, 16, 16), np.float32)))
    np.testing.assert_array_equal(*outputs)


def test_weights_that_are_no_numbers(home: Path, whc_command: Run) -> None:
    content = checkpoint()
    content.weights["head.layers.2.weight"].fill_(float("nan"))
    save(content, home / "x.pt")
    check(
        whc_command("export", "--checkpoint", "x.pt", "--out", "m.onnx"),
        home,
        "m.onnx: cannot be written: every weight must be a finite number, got 'NaN or infinity in ",
        "train it again",
    )

"""Checkpoints of the original projects: read, rebuilt, exported and scored through whc's own functions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from whc.data.dataset import Corpus, load
from whc.data.preprocess import INTERPOLATION_METHODS
from whc.data.windows import windows
from whc.errors import ArtifactError
from whc.models.assemble import ModelConfig, build
from whc.plugins import ChoiceOf
from whc.runtimes import onnxruntime_cpu
from whc.tasks.classification import Classification, Config
from whc.training import checkpoint
from whc.training.originals import classifiers
from whc.trials.artifacts import export, predictions, restore

RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")
FLAGS = {"rgb_to_yuv_to_y": "luma", "rgb_to_lab": "lab", "rgb_to_luv": "luv"}
HEADS = ["avg", "avgmax_mlp", "transformer", "mlp_mixer"]
AUTO = {"baseline": "avg", "inverted_se": "avgmax_mlp", "convnext": "transformer"}


def ours(theirs: dict[str, Any], image_size: str) -> dict[str, Any]:
    """What a file must be read as."""
    tokens = {"grid": "{}x{}".format(*theirs["token_mixer_grid"]), "layers": theirs["token_mixer_layers"]}
    backbone: Any = theirs["arch_variant"]
    head: Any = AUTO[backbone] if theirs["head_variant"] == "auto" else theirs["head_variant"]
    color = next((name for flag, name in FLAGS.items() if theirs[flag]), "rgb")
    if backbone == "inverted_se":
        backbone = {backbone: {"expansion": theirs["expansion"], "se_reduction": theirs["se_reduction"]}}
    sequence: Any = "none"
    if theirs["use_sequence"]:
        sequence, backbone, color, head = (
            {theirs["use_sequence"]: {"frames": theirs["sequence_len"]}},
            "baseline",
            "rgb",
            "avg",
        )
    return {
        "backbone": backbone,
        "head": {head: tokens} if head in {"transformer", "mlp_mixer"} else head,
        "color": color,
        "sequence": sequence,
        "width": theirs["base_channels"],
        "depth": theirs["num_blocks"],
        "image_size": image_size,
        "dropout": theirs["dropout"],
    }


def their_names(network: nn.Module, theirs: dict[str, Any]) -> dict[str, Tensor]:
    """Our weights under the originals' names."""
    prefix = "feature_extractor." if theirs["use_sequence"] else ""
    rules = {r"^backbone\.": prefix, r"^head\.layers\.": "head."}

    def renamed(name: str) -> str:
        for ours, original in rules.items():
            name = re.sub(ours, original, name)
        return name

    return {
        renamed(name): torch.rand_like(tensor.float()).to(tensor.dtype) for name, tensor in network.state_dict().items()
    }


def original(theirs: dict[str, Any], state: dict[str, Tensor], size: tuple[int, int]) -> dict[str, Any]:
    return {
        "model_config": theirs,
        "model_state": state,
        "normalization": {"mean": [0.0] * 3, "std": [1.0] * 3, "image_size": list(size)},
        "label_map": {1: "smiling", 0: "no_smiling"},
        "epoch": 7,
        "val_metrics": {"f1": 0.75},
        "train_config": {"train_resampling": "balanced", "lr": 1e-4},
        "optimizer_state": {"state": {}, "param_groups": []},
    }


def configured(**changes: Any) -> dict[str, Any]:
    defaults = {
        "base_channels": 4,
        "num_blocks": 2,
        "dropout": 0.3,
        "arch_variant": "baseline",
        "head_variant": "auto",
        "expansion": 4,
        "se_reduction": 8,
        "token_mixer_grid": (2, 2),
        "token_mixer_layers": 2,
        "rgb_to_yuv_to_y": False,
        "rgb_to_lab": False,
        "rgb_to_luv": False,
        "use_sequence": None,
        "sequence_len": 1,
    }
    return {**defaults, **changes}


def written(path: Path, theirs: dict[str, Any], size: tuple[int, int] = (16, 24)) -> tuple[ModelConfig, dict[str, Any]]:
    """A file as the originals write it, and the configuration that it must be read as."""
    model = ModelConfig.model_validate(ours(theirs, "{}x{}".format(*size)))
    torch.manual_seed(0)
    content = original(theirs, their_names(build(model, 1), theirs), size)
    torch.save(content, path)
    return model, content


architectures = st.fixed_dictionaries(
    {
        "base_channels": st.integers(1, 12),
        "num_blocks": st.integers(1, 5),
        "dropout": st.sampled_from([0.0, 0.3]),
        "arch_variant": st.sampled_from(list(AUTO)),
        "head_variant": st.sampled_from(["auto", *HEADS]),
        "expansion": st.integers(1, 4),
        "se_reduction": st.sampled_from([0, 4, 8]),
        "token_mixer_grid": st.sampled_from([(1, 1), (2, 3), (1, 3), (2, 1), (4, 6)]),
        "token_mixer_layers": st.integers(1, 3),
        "color": st.sampled_from(["", *FLAGS]),
        "sequence": st.sampled_from([(None, 1), ("lstm", 3), ("3dcnn", 4)]),
    }
)


@settings(max_examples=60)
@given(drawn=architectures, size=st.sampled_from([(32, 48), (48, 30), (16, 24)]))
def test_every_combination_is_read_with_every_weight_in_its_place(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, Any], size: tuple[int, int]
) -> None:
    color, (sequence, length) = drawn.pop("color"), drawn.pop("sequence")
    theirs = configured(**drawn, use_sequence=sequence, sequence_len=length, **({color: True} if color else {}))
    path = tmp_path_factory.mktemp("original") / "best.pt"
    try:
        model, content = written(path, theirs, size)
    except ValidationError:
        assume(False)
    saved = checkpoint.load(path)
    config, network = restore(saved, str(path))
    assert config.model.model_dump(mode="json") == model.model_dump(mode="json")
    assert config.training.resampling == "balanced"
    assert (saved.labels, saved.epoch, saved.val_score) == (["no_smiling", "smiling"], 7, 0.75)
    state, given_state = network.state_dict(), content["model_state"]
    # Both in order of the layers, the names of the one told as the names of the other.
    assert [tensor.shape for tensor in state.values()] == [tensor.shape for tensor in given_state.values()]
    assert all(map(torch.equal, state.values(), given_state.values()))


def test_older_files_lack_fields(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    model, content = written(path, configured())
    for name in ("use_sequence", "sequence_len", "rgb_to_luv", "token_mixer_layers", "se_reduction"):
        del content["model_config"][name]
    for name in ("train_config", "val_metrics", "optimizer_state"):
        del content[name]
    torch.save(content, path)
    config, _ = restore(checkpoint.load(path), str(path))
    assert config.model == model


@pytest.mark.parametrize("dropped", [(1, 4), (1,), (4,)])
def test_heads_are_read_however_absent_dropout_was_counted(tmp_path: Path, dropped: tuple[int, ...]) -> None:
    path = tmp_path / "plain.pt"
    _, content = written(path, configured(head_variant="avgmax_mlp", dropout=0.0))
    numbers = {"0": 0, "2": 2 - (1 in dropped), "5": 5 - len(dropped)}
    content["model_state"] = {
        re.sub(r"^head\.(\d)", lambda match: f"head.{numbers[match[1]]}", name): tensor
        for name, tensor in content["model_state"].items()
    }
    torch.save(content, path)
    _, network = restore(checkpoint.load(path), str(path))
    for ours, theirs in numbers.items():
        read = network.get_parameter(f"head.layers.{ours}.weight")
        assert torch.equal(read, content["model_state"][f"head.{theirs}.weight"])


def refusal(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        restore(checkpoint.load(path), str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "model_config",
            {"arch_variant": "resnet"},
            "model.backbone: must be one of baseline, convnext, ",
        ),
        (
            "model_config",
            {"head_variant": "max"},
            "model.head: must be one of aligned, anchor, ",
        ),
        ("model_config", {"use_sequence": "gru"}, "must be one of cnn3d, frame_stack, lstm, none, got 'gru'"),
        ("model_config", {"rgb_to_lab": True, "rgb_to_luv": True}, "must name at most one colour space"),
        ("model_config", {"base_channels": "many"}, "model_config.base_channels: "),
        ("model_config", {"base_channels": 8}, "weights must fit the configuration"),
        ("model_config", {"head_variant": "mlp_mixer", "token_mixer_grid": (3, 5)}, "rows that fit: 1, 2, 4, 8"),
        ("model_config", {"arch_variant": "inverted_se", "expansion": 99}, "inverted_se.expansion: must be less than"),
        ("normalization", {"mean": [0.5] * 3}, "normalization: must be mean 0 and std 1"),
        ("normalization", {"image_size": [4, 4]}, "must be within 8 and 512 pixels"),
        ("label_map", {2: "laughing"}, "label_map: must give the classes 0 and 1 a name each"),
    ],
)
def test_other_files_are_told_in_one_line(tmp_path: Path, key: str, value: dict[Any, Any], said: str) -> None:
    path = tmp_path / "odd.pt"
    _, content = written(path, configured())
    torch.save({**content, key: {**content[key], **value}}, path)
    assert said in refusal(path)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    written(path, configured())
    path.write_bytes(path.read_bytes()[:-1000])
    assert "must be a checkpoint" in refusal(path)
    _, content = written(path, configured())
    del content["model_state"]["stem.0.weight"]
    torch.save(content, path)
    assert "stem.0.weight" in refusal(path)
    torch.save({**content, "extra": Path}, path)
    assert "must be a checkpoint" in refusal(path)


def test_the_command_exports_them(tmp_path: Path) -> None:
    from whc.cli.export import command

    path, out = tmp_path / "best.pt", tmp_path / "model.onnx"
    written(path, configured(use_sequence="3dcnn", sequence_len=3), (16, 12))
    result = CliRunner().invoke(command, ["--checkpoint", str(path), "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["onnx"] == str(out)
    metadata = onnxruntime_cpu.load(out, onnxruntime_cpu.Config()).metadata()
    assert (metadata.layout, metadata.frames, metadata.height, metadata.width) == ("cnn3d", 3, 16, 12)
    assert (metadata.resize, metadata.interpolation) == ("stretch", classifiers.ORIGINAL_INTERPOLATION)
    assert metadata.labels == ["no_smiling", "smiling"]


def test_images_resized_in_another_way_are_refused(tmp_path: Path, bright_corpus: Corpus) -> None:
    path, out = tmp_path / "best.pt", tmp_path / "model.onnx"
    written(path, configured(), (16, 16))
    saved = checkpoint.load(path)
    export(*restore(saved, str(path)), saved, out)
    with pytest.raises(ArtifactError, match="must want images resized by 'area', as these were, got 'bilinear_antial"):
        next(predictions(out, bright_corpus, "test", RUNTIME))


@pytest.fixture(scope="module")
def smile(shared: Path) -> Corpus:
    path = shared / "data" / "smile" / "dataset.parquet"
    if not path.is_file():
        pytest.skip(f"the smiles are not here ({path})")
    assert classifiers.ORIGINAL_INTERPOLATION in INTERPOLATION_METHODS
    return load(path, [(32, 32)], Classification, interpolation=classifiers.ORIGINAL_INTERPOLATION)


@pytest.mark.parametrize("name", ["trained_baseline.pt", "trained_inverted_se.pt"])
def test_trained_ones_score_what_their_own_trainer_measured(
    shared: Path, tmp_path: Path, smile: Corpus, name: str
) -> None:
    path = shared / "peer" / name
    if not path.is_file():
        pytest.skip(f"the originals' checkpoints are not here ({path})")
    measured = json.loads(path.with_name("trained.json").read_text())[name]
    saved = checkpoint.load(path)
    export(*restore(saved, str(path)), saved, tmp_path / "model.onnx")
    for split in ("val", "test"):
        probabilities = np.concatenate(list(predictions(tmp_path / "model.onnx", smile, split, RUNTIME)))
        class_ids = windows(smile, split, 1).targets
        f1 = Classification(("no", "yes"), Config()).judge(probabilities, class_ids).score()
        assert f1 == pytest.approx(measured[f"{split}_f1"], abs=1e-3)

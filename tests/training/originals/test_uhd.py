"""UHD's checkpoints give UHD's own numbers: maps, boxes and losses; other files are refused in one line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from whc.errors import ArtifactError
from whc.models.assemble import ModelConfig, build
from whc.models.boxes import BoxHead, best
from whc.training.average import Average
from whc.training.originals import uhd

MAX_RAW_ERROR, MAX_BOX_ERROR, MAX_LOSS_ERROR = 5e-5, 1e-4, 1e-4
THRESHOLD = 0.3
SIZES = {"centernet_w16_s4_skip_ese_3cls": (48, 64)}  # of pictures that are not 64x64, which no file holds
CENTRES = ["centernet_w32_s16", "centernet_w16_s4_skip_ese_3cls"]
ANCHORS = "anchor5_w64_s16_se_skip"
QUERIES = ["detr_d64_l3", "detr_fpn_d64_l3"]
NAMES = [*CENTRES, ANCHORS, *QUERIES]


def content(shared: Path, name: str) -> dict[str, Any]:
    path = shared / f"peer/uhd/{name}.pt"
    if not path.is_file():
        pytest.skip(f"the original's checkpoints are not here ({path})")
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return saved | ({"img_size": SIZES[name]} if name in SIZES else {})


def restored(fields: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> Any:
    """The network; `changes` are those of its head's parameters."""
    model = dict(fields["config"]["model"])
    if changes:
        ((name, parameters),) = model["head"].items()
        model["head"] = {name: {**parameters, **changes}}
    network = build(ModelConfig.model_validate(model), len(fields["labels"]))
    network.load_state_dict(fields["weights"])
    return network.eval()


def run(network: nn.Module, golden: Mapping[str, NDArray[Any]]) -> Tensor:
    with torch.inference_mode():
        raw: Tensor = network(torch.from_numpy(golden["images"]))
    return raw


def as_theirs(raw: Tensor, name: str, classes: int) -> NDArray[np.float32]:
    """What the head gave, with the functions that the original's networks end with."""
    if name in CENTRES:
        return torch.cat([raw[:, :classes].sigmoid(), raw[:, classes:]], 1).numpy()
    return raw.numpy() if name == ANCHORS else torch.cat([raw[..., :-4], raw[..., -4:].sigmoid()], 2).numpy()


def their_output(golden: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    if name in CENTRES:
        return np.concatenate([golden[part] for part in ("hm", "off", "wh")], 1)
    return golden["pred"] if name == ANCHORS else np.concatenate([golden["logits"], golden["boxes"]], 2).swapaxes(0, 1)


def targets(rows: NDArray[np.float64], pictures: int) -> Tensor:
    """Rows of picture, class, cx, cy, w, h as (N, K, 5)."""
    padded = torch.full((pictures, int(np.bincount(rows[:, 0].astype(int)).max()), 5), -1.0)
    for picture in range(pictures):
        own = torch.from_numpy(rows[rows[:, 0] == picture]).float()
        padded[picture, : len(own)] = own[:, [2, 3, 4, 5, 1]]
    return padded


def above_threshold(found: Tensor) -> NDArray[np.float64]:
    """Boxes (N, K, 6) as rows of picture, score, class, cx, cy, w, h."""
    pictures = torch.arange(len(found)).repeat_interleave(found.shape[1])
    rows = torch.cat([pictures[:, None], found.flatten(0, 1)], 1).double().numpy()
    return rows[rows[:, 1] >= THRESHOLD]


def largest_difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Of boxes of the same picture and class, each with the nearest that is left."""
    assert len(ours) == len(theirs)
    left, largest = list(ours), 0.0
    for row in theirs:
        apart = [np.abs(other - row).max() for other in left]
        nearest = int(np.argmin(apart))
        largest = max(largest, float(apart[nearest]))
        del left[nearest]
    return largest


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads((shared / "peer/uhd/golden.json").read_text())
    return known


@pytest.mark.parametrize("name", NAMES)
def test_outputs_boxes_and_size_are_the_original_s(shared: Path, recorded: dict[str, Any], name: str) -> None:
    fields = uhd.translate(content(shared, name), name)
    network = restored(fields)
    assert sum(parameter.numel() for parameter in network.parameters()) == recorded[name]["params"]
    with np.load(shared / f"peer/uhd/{name}.npz") as golden:
        raw = run(network, golden)
        raw_apart = np.abs(as_theirs(raw, name, len(fields["labels"])) - their_output(golden, name)).max()
        assert np.abs(golden["decoded"][:, 1] - THRESHOLD).min() > MAX_BOX_ERROR
        found = best(network.head.decode(raw), most_boxes(fields), network.head.nms_iou)
        boxes_apart = largest_difference(above_threshold(found), golden["decoded"])
    print(f"\n{name:32} raw {raw_apart:.1e}   boxes {boxes_apart:.1e}", end="")
    assert raw_apart <= MAX_RAW_ERROR
    assert boxes_apart <= MAX_BOX_ERROR


def most_boxes(fields: Mapping[str, Any]) -> int:
    task: dict[str, Any] = fields["config"]["task"]["detection"]
    assert task["threshold"] == THRESHOLD
    return int(task["max_boxes"])


def test_boxes_of_the_newer_version(shared: Path) -> None:
    """Softplus and suppression; with anchors of UHD its first version reads its files as other boxes."""
    saved = content(shared, ANCHORS)
    fields = uhd.translate(saved | {"img_size": (64, 64), "resize_mode": "torch_bilinear"}, ANCHORS)
    assert fields["interpolation"] == "bilinear"
    network = restored(fields)
    with np.load(shared / f"peer/uhd/{ANCHORS}.npz") as golden:
        found = best(network.head.decode(run(network, golden)), most_boxes(fields), network.head.nms_iou)
        apart = largest_difference(above_threshold(found), golden["decoded_head"])
        assert largest_difference(above_threshold(found), golden["decoded"]) > 0.01
    print(f"\n{ANCHORS:32} boxes {apart:.1e}", end="")
    assert apart <= MAX_BOX_ERROR


def check_losses(head: BoxHead, raw: Tensor, rows: Tensor, expected: Mapping[str, float]) -> None:
    terms = head.loss_terms(raw, rows)
    given = {key: term.item() for key, term in terms.items()} | {"loss": head.loss(raw, rows).item()}
    assert given == pytest.approx({key: expected[key] for key in given}, rel=MAX_LOSS_ERROR)


@pytest.mark.parametrize("name", [*CENTRES, *QUERIES])
def test_losses_are_the_original_s(shared: Path, recorded: dict[str, Any], name: str) -> None:
    network = restored(uhd.translate(content(shared, name), name))
    with np.load(shared / f"peer/uhd/{name}.npz") as golden:
        raw, rows = run(network, golden), targets(golden["target"], len(golden["images"]))
    expected = {key.removeprefix("loss_"): value for key, value in recorded[name].items() if key.startswith("loss_")}
    check_losses(network.head, raw, rows, expected)


@pytest.mark.parametrize(
    ("prefix", "size", "kind"),
    [
        ("loss_iou_", "exp", "iou"),
        ("loss_giou_", "exp", "giou"),
        ("loss_ciou_", "exp", "ciou"),
        ("head_legacy_giou_", "softplus", "giou"),
        ("head_legacy_ciou_", "softplus", "ciou"),
        ("head_simota_giou_", "softplus", "giou"),
        ("head_simota_ciou_", "softplus", "ciou"),
    ],
)
def test_losses_of_anchors_are_the_original_s(
    shared: Path, recorded: dict[str, Any], prefix: str, size: str, kind: str
) -> None:
    fields = uhd.translate(content(shared, ANCHORS), ANCHORS)
    assigner = "simota" if "simota" in prefix else "legacy"
    network = restored(fields, {"size": size, "iou": kind, "assigner": assigner})
    with np.load(shared / f"peer/uhd/{ANCHORS}.npz") as golden:
        raw, rows = run(network, golden), targets(golden["target"], len(golden["images"]))
    terms = recorded[ANCHORS]
    check_losses(
        network.head, raw, rows, {key.removeprefix(prefix): terms[key] for key in terms if key.startswith(prefix)}
    )


def test_averages_decay_as_the_original_s(recorded: dict[str, Any]) -> None:
    network = nn.Linear(1, 1, bias=False)
    average = Average(network, 0.9998)
    for decay in recorded["ema"]["decay_by_update"]:
        with torch.no_grad():
            average.network.weight.fill_(1.0)
            network.weight.fill_(0.0)
        average.update()
        assert average.network.weight.item() == pytest.approx(decay, rel=1e-5)


def tiny(**changes: Any) -> dict[str, Any]:
    """A checkpoint in their format of an untrained CNN with centres."""
    model = {"backbone": {"uhd": {"output_stride": 8}}, "width": 4, "depth": 3, "image_size": 64}
    state = build(ModelConfig.model_validate(model | {"head": "centre"}), 2).state_dict()
    parts = {"0": "dw", "1": "pw", "2": "bn"}
    theirs: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith("head"):
            kind = name.rpartition(".")[2]
            names = ("head_hm", "head_off", "head_wh")
            split = zip(names, tensor.split([2, 2, 2]), strict=True)
            theirs |= {f"{head}.{kind}": part for head, part in split}
        elif name.startswith("backbone.features"):
            _, _, block, part, kind = name.split(".")
            theirs[f"stage{int(block) + 1}.{parts[part]}.{kind}"] = tensor
        else:
            theirs[name.removeprefix("backbone.")] = tensor
    fields = {"arch": "cnn", "classes": [0, 5], "epoch": 7, "best_map": 0.25, "output_stride": 8}
    return {"model": theirs, **fields, "ema": None, **changes}


def test_what_a_file_says_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    fields = uhd.translate(tiny(), "tiny.pt")
    assert fields["labels"] == ["class 0", "class 5"]
    assert (fields["epoch"], fields["val_score"]) == (7, 0.25)
    assert fields["interpolation"] == "bilinear_antialias"
    assert fields["config"]["task"] == {"detection": {"max_boxes": 50, "threshold": 0.3}}
    assert "tiny.pt: does not hold all of its network" in caplog.text
    assert "64x64" in caplog.text
    caplog.clear()
    uhd.translate(tiny(img_size=(32, 48)), "tiny.pt")
    assert not caplog.text


def test_averaged_weights_come_first() -> None:
    plain = tiny()
    averaged = {name: tensor + 1 for name, tensor in plain["model"].items()}
    weights = uhd.translate(plain | {"ema": averaged}, "tiny.pt")["weights"]
    assert torch.equal(weights["backbone.stem.0.weight"], plain["model"]["stem.0.weight"] + 1)


def test_queries_are_told_of_the_heads_that_were_taken(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    uhd.translate(content(shared, "detr_d64_l3"), "detr.pt")
    assert "64x64 pixels, 4 attention heads" in caplog.text


@pytest.mark.parametrize("newer", [False, True])
def test_the_gate_has_silu_in_the_first_version_alone(shared: Path, newer: bool) -> None:
    saved = content(shared, ANCHORS) | {"activation": "relu"}
    saved |= {"img_size": (64, 64), "resize_mode": "opencv_inter_linear"} if newer else {}
    trunk = uhd.translate(saved, ANCHORS)["config"]["model"]["backbone"]["uhd"]
    assert trunk["activation"] == "relu"
    assert trunk["se_activation"] == ("relu" if newer else "silu")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arch": "ultratinyod"}, "arch: Input should be 'cnn' or 'transformer'"),
        ({"classes": []}, "classes: "),
        ({"output_stride": 5}, "output_stride: "),
        ({"resize_mode": "opencv_inter_nearest_y"}, "resize_mode: must be one of torch_bilinear"),
        ({"use_anchor": True}, "model: must be the weights of such a network"),
        ({"arch": "transformer"}, "model: must be the weights of such a network"),
        ({"last_se": "se"}, "model: must have backbone.gate.layers.0.bias of shape (1,), got None"),
        ({"classes": [0]}, "model: must have head.layers.1.bias of shape (5,), got (6,)"),
        ({"model": {}}, "model: must be the weights of such a network"),
    ],
)
def test_other_files_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        uhd.translate(tiny(**changes), "tiny.pt")
    assert f"tiny.pt: {said}" in str(caught.value)
    assert "\n" not in str(caught.value)

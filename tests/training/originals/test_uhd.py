"""UHD's checkpoints give UHD's own numbers: maps, boxes and losses; other files are refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from whc.errors import ArtifactError
from whc.models import vit
from whc.models.assemble import ModelConfig, build
from whc.models.boxes import IouKind, best, iou
from whc.models.heads.anchor import auto_anchors
from whc.tasks.detection.original import original_map
from whc.training import checkpoint
from whc.training.average import Average
from whc.training.originals import uhd

MAX_RAW_ERROR, MAX_BOX_ERROR, MAX_LOSS_ERROR, MAX_FEATURE_ERROR = 5e-5, 1e-4, 1e-4, 1e-5
THRESHOLD = 0.3
SIZES = {"centernet_w16_s4_skip_ese_3cls": "48x64"}  # of pictures that are not 64x64, which no file holds
CENTRES = ["centernet_w32_s16", "centernet_w16_s4_skip_ese_3cls"]
ANCHORS = "anchor5_w64_s16_se_skip"
QUERIES = ["detr_d64_l3", "detr_fpn_d64_l3"]
NAMES = [*CENTRES, ANCHORS, *QUERIES]


def content(shared: Path, name: str) -> dict[str, Any]:
    path = shared / f"peer/uhd/{name}.pt"
    if not path.is_file():
        pytest.skip(f"the original's checkpoints are not here ({path})")
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return saved


def translated(shared: Path, name: str) -> dict[str, Any]:
    given = {"model": {"image_size": SIZES[name]}} if name in SIZES else {}
    return uhd.translate(content(shared, name), name, given)


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


def relative(ours: Mapping[str, float], theirs: Mapping[str, float]) -> float:
    """The largest difference of numbers of the same names, as a share of theirs."""
    return max(abs(ours[name] - theirs[name]) / abs(theirs[name]) for name in ours)


def most_boxes(fields: Mapping[str, Any]) -> int:
    task: dict[str, Any] = fields["config"]["task"]["detection"]
    assert task["threshold"] == THRESHOLD
    return int(task["max_boxes"])


@dataclass
class Peers:
    """The folder of the original's files; each method is a row of the table and gives the largest difference."""

    shared: Path

    def __post_init__(self) -> None:
        self.folder = self.shared / "peer/uhd"
        self.recorded: dict[str, Any] = json.loads((self.folder / "golden.json").read_text())

    def golden(self, name: str) -> Mapping[str, NDArray[Any]]:
        return dict(np.load(self.folder / f"{name}.npz"))

    def parameters(self, name: str) -> float:
        network = restored(translated(self.shared, name))
        return abs(sum(parameter.numel() for parameter in network.parameters()) - self.recorded[name]["params"])

    def raw(self, name: str) -> float:
        fields, golden = translated(self.shared, name), self.golden(name)
        ours = as_theirs(run(restored(fields), golden), name, len(fields["labels"]))
        return float(np.abs(ours - their_output(golden, name)).max())

    def found(self, fields: Mapping[str, Any], name: str) -> NDArray[np.float64]:
        network = restored(fields)
        candidates = network.head.decode(run(network, self.golden(name)))
        return above_threshold(best(candidates, most_boxes(fields), network.head.nms_iou))

    def boxes(self, name: str) -> float:
        theirs = self.golden(name)["decoded"]
        assert np.abs(theirs[:, 1] - THRESHOLD).min() > MAX_BOX_ERROR
        return largest_difference(self.found(translated(self.shared, name), name), theirs)

    def newer_boxes(self, name: str) -> float:
        """Softplus and suppression; UHD's newer version reads its files of the first as other boxes."""
        newer = content(self.shared, name) | {"img_size": (64, 64), "resize_mode": "torch_bilinear"}
        found, golden = self.found(uhd.translate(newer, name), name), self.golden(name)
        assert largest_difference(found, golden["decoded"]) > 0.01
        return largest_difference(found, golden["decoded_head"])

    def mean_ap(self, name: str) -> float:
        fields = translated(self.shared, name)
        score = original_map(self.found(fields, name), self.golden(name)["mapgt"], len(fields["labels"]), THRESHOLD)
        return abs(score - self.recorded[name]["map_mAP@0.5"])

    def losses(self, name: str, prefix: str = "loss_", **changes: str) -> float:
        network, golden = restored(translated(self.shared, name), changes), self.golden(name)
        raw, rows = run(network, golden), targets(golden["target"], len(golden["images"]))
        terms = network.head.loss_terms(raw, rows)
        ours = {key: term.item() for key, term in terms.items()} | {"loss": network.head.loss(raw, rows).item()}
        known = {
            key.removeprefix(prefix): value for key, value in self.recorded[name].items() if key.startswith(prefix)
        }
        assert ours.keys() <= known.keys()
        return relative(ours, known)

    def average(self) -> float:
        """Their trace, from the weights that their decays say were averaged: 30 updates."""
        trace, decays = (np.array(self.recorded["ema"][key]) for key in ("trace", "decay_by_update"))
        weights = (trace[1:] - decays[1:] * trace[:-1]) / (1 - decays[1:])
        network = nn.Linear(1, 1, bias=False)
        average = Average(network, 0.9998)
        average.update()
        average.network.weight.data.fill_(trace[0])  # the first weight is not known
        ours = []
        for weight in weights:
            network.weight.data.fill_(weight)
            average.update()
            ours.append(average.network.weight.item())
        return float(np.abs(np.array(ours) - trace[1:]).max())

    def anchors(self) -> float:
        golden = self.golden("auto_anchors")
        return max(float(np.abs(auto_anchors(golden["wh"], k) - golden[f"k{k}"]).max()) for k in (1, 3, 5, 9))

    def overlaps(self, kind: IouKind) -> float:
        golden = {name: torch.from_numpy(values) for name, values in self.golden("iou").items()}
        return float((iou(golden["a"], golden["b"], kind) - golden[kind]).abs().max())

    def features(self, name: str) -> float:
        weights = checkpoint.load_vit(self.folder / f"{name}.pt")
        assert weights is not None
        with torch.no_grad():
            features = vit.from_weights(weights, self.recorded[name]["heads"])(
                torch.from_numpy(self.golden(name)["images"])
            )
        return float(np.abs(features.numpy() - self.golden(name)["features"]).max())


Row = tuple[float, Callable[[Peers], float]]


def table() -> dict[str, Row]:
    """All that is known of the original, by what is compared: the largest difference allowed, and how to find it."""
    rows: dict[str, Row] = {}
    for name in NAMES:
        rows[f"{name} parameters"] = 0, partial(Peers.parameters, name=name)
        rows[f"{name} raw outputs"] = MAX_RAW_ERROR, partial(Peers.raw, name=name)
        rows[f"{name} boxes"] = MAX_BOX_ERROR, partial(Peers.boxes, name=name)
        rows[f"{name} mAP"] = 1e-6, partial(Peers.mean_ap, name=name)
    for name in (*CENTRES, *QUERIES):
        rows[f"{name} losses"] = MAX_LOSS_ERROR, partial(Peers.losses, name=name)
    for kind in ("iou", "giou", "ciou"):
        rows[f"{ANCHORS} losses, {kind}"] = (
            MAX_LOSS_ERROR,
            partial(Peers.losses, name=ANCHORS, prefix=f"loss_{kind}_", iou=kind, size="exp"),
        )
    for assigner, kind in product(("legacy", "simota"), ("giou", "ciou")):
        newer = partial(
            Peers.losses, name=ANCHORS, prefix=f"head_{assigner}_{kind}_", iou=kind, size="softplus", assigner=assigner
        )
        rows[f"{ANCHORS} losses, newer version, {assigner}, {kind}"] = MAX_LOSS_ERROR, newer
    rows[f"{ANCHORS} boxes, newer version"] = MAX_BOX_ERROR, partial(Peers.newer_boxes, name=ANCHORS)
    rows["averaged weights"] = 1e-6, Peers.average
    rows["auto-anchors"] = 1e-6, Peers.anchors
    for kind in get_args(IouKind):
        rows[f"overlaps, {kind}"] = 1e-5, partial(Peers.overlaps, kind=kind)
    rows["vit_mlp features"] = MAX_FEATURE_ERROR, partial(Peers.features, name="vit_mlp")
    return rows


GOLDEN_TABLE = table()


@pytest.fixture(scope="module")
def peers(shared: Path) -> Peers:
    content(shared, NAMES[0])  # skips where they are not
    return Peers(shared)


@pytest.mark.parametrize("what", GOLDEN_TABLE)
def test_golden_table(peers: Peers, what: str) -> None:
    """A line for each number of the original that is known: `pytest tests/training/originals/test_uhd.py -s`."""
    limit, apart = GOLDEN_TABLE[what]
    found = apart(peers)
    print(f"\n{what:58} {found:8.1e} of {limit:.0e} allowed", end="")
    assert found <= limit


def test_averages_decay_as_the_original_s(peers: Peers) -> None:
    network = nn.Linear(1, 1, bias=False)
    average = Average(network, 0.9998)
    for decay in peers.recorded["ema"]["decay_by_update"]:
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
    uhd.translate(tiny(), "tiny.pt", {"model": {"image_size": "32x48"}})
    assert not caplog.text


@pytest.mark.parametrize(
    ("size", "sides"), [((32, 48), "32x48"), ([32, 48], "32x48"), ("32x48", "32x48"), ("32", "32x32"), (32, "32x32")]
)
def test_the_size_of_newer_files(caplog: pytest.LogCaptureFixture, size: object, sides: str) -> None:
    assert uhd.translate(tiny(img_size=size), "tiny.pt")["config"]["model"]["image_size"] == sides
    assert not caplog.text


def test_averaged_weights_come_first() -> None:
    plain = tiny()
    averaged = {name: tensor + 1 for name, tensor in plain["model"].items()}
    weights = uhd.translate(plain | {"ema": averaged}, "tiny.pt")["weights"]
    assert torch.equal(weights["backbone.stem.0.weight"], plain["model"]["stem.0.weight"] + 1)


def test_queries_are_told_of_the_heads_that_were_taken(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    uhd.translate(content(shared, "detr_d64_l3"), "detr.pt")
    assert "64x64 pixels (--set model.image_size=HEIGHTxWIDTH), 4 attention heads (--set" in caplog.text
    caplog.clear()
    given = {"model": {"image_size": 64, "head": {"query": {"heads": 8}}}}
    fields = uhd.translate(content(shared, "detr_d64_l3"), "detr.pt", given)
    assert not caplog.text
    query = fields["config"]["model"]["head"]["query"]
    assert (query["heads"], query["queries"], query["layers"]) == (8, 10, 3)


@pytest.mark.parametrize("newer", [{"img_size": (64, 64)}, {"resize_mode": "torch_nearest"}])
def test_either_field_tells_a_newer_file(shared: Path, newer: dict[str, Any]) -> None:
    """Which has another decoding: the same numbers are other boxes."""
    fields = uhd.translate(content(shared, ANCHORS) | newer, ANCHORS)
    anchor = fields["config"]["model"]["head"]["anchor"]
    assert (anchor["size"], anchor["nms_iou"]) == ("softplus", 0.5)
    assert fields["interpolation"] == ("nearest" if "resize_mode" in newer else "bilinear_antialias")


def test_anchors_give_a_box_for_each_place_unless_fewer_are_asked_for(shared: Path) -> None:
    for changes, boxes in (
        ({}, 80),
        ({"model": {"image_size": "96x64"}}, 120),
        ({"model": {"image_size": "96x64"}, "task": {"detection": {"max_boxes": 9}}}, 9),
        ({"model": {"image_size": "1"}}, 80),
    ):
        fields = uhd.translate(content(shared, ANCHORS), ANCHORS, changes)
        assert fields["config"]["task"]["detection"]["max_boxes"] == boxes


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
        ({"resize_mode": "opencv_inter_nearest_y"}, "resize_mode: must be one of torch_bilinear, opencv_inter_linear"),
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

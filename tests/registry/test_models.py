"""Registering ladders and finding their files again, on a real MLflow database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("mlflow.tracking")

from mlflow import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path

from whc.errors import ArtifactError, RegistryError
from whc.records import LadderTable, VariantRow
from whc.registry import store
from whc.registry.location import Location
from whc.registry.models import Registry

Ladder = Callable[..., tuple[LadderTable, Path]]


@pytest.fixture
def registry(location: Location) -> Registry:
    return Registry(location)


@pytest.fixture
def client(location: Location) -> MlflowClient:
    return store.connect(location)


def state(client: MlflowClient) -> dict[str, dict[str, int]]:
    """Aliases of every registered model."""
    return {model.name: dict(model.aliases) for model in client.search_registered_models()}


def test_a_registered_variant_is_found_with_the_same_bytes(registry: Registry, ladder: Ladder) -> None:
    table, folder = ladder("sml")
    lines = registry.ladder_built(table, folder)
    assert lines[0] == "registered whc_s version 1, alias champion"
    assert len(lines) == 3
    for row in table.variants:
        for name in (row.name, f"{row.name}@champion", f"{row.name}/1"):
            assert registry.resolve(name).read_bytes() == (folder / row.file).read_bytes()


def test_the_ladder_of_a_champion(registry: Registry, ladder: Ladder) -> None:
    registry.ladder_built(*ladder("sml", "first"))
    registry.ladder_built(*ladder("sl", "second", 9.0))
    registry.ladder_built(*ladder("m", "other", 20.0, prefix="other"))
    for name in ("whc_l", "whc_l@champion", "whc_l/2"):
        variants = registry.ladder(name)
        assert [(champion.name, champion.version) for champion, _ in variants] == [("whc_s", "2"), ("whc_l", "2")]
        assert [tags["f1"] for _, tags in variants] == ["0.8000", "0.8100"]
        assert variants[1][0].path == registry.resolve("whc_l")
    assert registry.ladder("whc_l/1") == []
    assert registry.ladder("whc_m/1") == []  # champion of no ladder since the second one


def test_the_file_is_used_in_place(registry: Registry, ladder: Ladder, location: Location) -> None:
    registry.ladder_built(*ladder("m"))
    assert location.artifacts in registry.resolve("whc_m").parents


def test_a_version_carries_its_evidence(
    registry: Registry, ladder: Ladder, client: MlflowClient, location: Location
) -> None:
    table, folder = ladder("sml")
    (folder / "report.html").write_text("the study's page")
    registry.ladder_built(table, folder)
    version = client.get_model_version_by_alias("whc_l", "champion")
    row = table.variants[2]
    assert float(version.tags["f1"]) == pytest.approx(row.score)
    assert float(version.tags["latency_ms"]) == pytest.approx(row.latency_ms)
    assert version.tags["size_bytes"] == str(row.size_bytes)
    assert version.tags["study"] == "hands"
    assert version.tags["data_fingerprint"] == table.data_fingerprint
    assert version.tags["code_version"] == "1.0"
    assert json.loads(version.tags["labels"]) == table.labels
    assert version.tags["onnx_sha256"] == hashlib.sha256((folder / row.file).read_bytes()).hexdigest()
    files = location.run_folder(version.run_id)
    assert version.source == files.as_uri()
    assert VariantRow.model_validate_json((files / "row.json").read_text()) == row
    assert (files / "README.md").read_text() == version.description
    assert (files / "report.html").read_text() == "the study's page"
    assert client.get_run(version.run_id).data.params["model.backbone.baseline.width"] == "24"
    assert client.get_registered_model("whc_l").tags["f1"] == version.tags["f1"]


def test_the_card_says_what_it_is_how_it_was_measured_and_how_to_run_it(
    registry: Registry, ladder: Ladder, client: MlflowClient
) -> None:
    registry.ladder_built(*ladder("sml"))
    card = client.get_model_version_by_alias("whc_l", "champion").description
    assert card.startswith("# whc_l\n")
    for part in (
        "it tells still from waving (task `classification`, positive label `waving`).",
        "- `waving` is called from probability 0.5 on.",
        "- F1 of `waving` on the test split of data",
        "a crop that shows neither.",
        "**0.8200** (0.770 to 0.860) | 0.5000",
        "0.4000 ms** (0.3600 to 0.4400)",
        "shape (N, 3, 8, 8)",
        "whc demo --model whc_l",
        "| **whc_l** |",
        "- the test split orders it differently",
        '"width": 24',
    ):
        assert part in card


def test_the_card_of_several_classes(registry: Registry, ladder: Ladder, client: MlflowClient) -> None:
    registry.ladder_built(*ladder("m", labels=["left", "right", "none"]))
    card = client.get_model_version_by_alias("whc_m", "champion").description
    for part in (
        "it tells left, right and none apart (task `classification`).",
        "- Output `probs`, shape (N, 3): a probability for each of left, right, none, in this order; the likeliest is",
        "- F1, the mean over the 3 classes, on the test split of data",
        "a crop that shows none of them.",
    ):
        assert part in card
    assert "positive" not in card


def test_a_new_ladder_takes_the_alias_over(registry: Registry, ladder: Ladder, client: MlflowClient) -> None:
    registry.ladder_built(*ladder("sml", study="first"))
    old = registry.resolve("whc_m").read_bytes()
    table, folder = ladder("ml", study="second", weight=5.0)
    lines = registry.ladder_built(table, folder)
    assert registry.resolve("whc_m").read_bytes() == (folder / "ladder/m.onnx").read_bytes()
    assert registry.resolve("whc_m/1").read_bytes() == old
    assert state(client) == {"whc_s": {}, "whc_m": {"champion": 2}, "whc_l": {"champion": 2}}
    assert lines[-1] == "whc_s is no longer champion: the ladder of second has no such variant"
    assert "f1" not in client.get_registered_model("whc_s").tags
    with pytest.raises(RegistryError, match=r"whc_s: no version has the alias champion; name one of: whc_s/1"):
        registry.resolve("whc_s")


def test_another_prefix_is_left_alone(registry: Registry, ladder: Ladder, client: MlflowClient) -> None:
    registry.ladder_built(*ladder("s", study="faces", prefix="whc_face", labels=["neutral", "smiling"]))
    registry.ladder_built(*ladder("m"))
    assert state(client) == {"whc_face_s": {"champion": 1}, "whc_m": {"champion": 1}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "head_pose"}, "task must stay its champion's classification, got head_pose"),
        ({"labels": ["neutral", "smiling"]}, "labels must stay its champion's .*waving.*, got .*smiling.*"),
    ],
)
def test_a_foreign_champion_is_never_replaced(
    registry: Registry, ladder: Ladder, client: MlflowClient, change: dict[str, object], message: str
) -> None:
    registry.ladder_built(*ladder("ml"))
    before = state(client)
    # whc_l would only lose its alias, and that is refused too.
    with pytest.raises(RegistryError, match=rf"whc_[ml]: {message}; nothing was registered; choose another prefix"):
        registry.ladder_built(*ladder("sm", study="other", **change))
    assert state(client) == before
    assert client.get_experiment_by_name("other") is None


def test_a_ladder_without_a_test_split_is_marked(registry: Registry, ladder: Ladder, client: MlflowClient) -> None:
    table, folder = ladder("m")
    registry.ladder_built(table, folder)
    scores = dict.fromkeys(("score", "score_low", "score_high")) | {"score_changed": {"-12": None, "+12": None}}
    rows = [row.model_copy(update=scores) for row in table.variants]
    constant = {"test_split": False, "floor": None, "val_floor": 0.625}
    changes: dict[str, object] = {**constant, "study": "untested", "variants": rows}
    registry.ladder_built(table.model_copy(update=changes), folder)
    version = client.get_model_version_by_alias("whc_m", "champion")
    assert int(version.version) == 2
    assert version.tags["f1"] == client.get_registered_model("whc_m").tags["f1"] == "no test split"
    assert version.tags["val_f1"] == f"{rows[0].val_score:.4f}"
    metrics = client.get_run(version.run_id).data.metrics
    assert "f1" not in metrics
    assert metrics["val_f1"] == rows[0].val_score
    row = Path(local_file_uri_to_path(version.source)) / "row.json"
    assert VariantRow.model_validate_json(row.read_text()) == rows[0]
    card = version.description
    assert f"\n**{table.metric.untested}.**\n" in card
    assert "\n| **no test split** | 0.6250 | 0.8100 | " in card
    assert "constant predictor (validation)" in card
    assert "\n| **whc_m** | no test split | 0.8100 | " in card
    assert "test split of data" not in card
    assert "None" not in card


def test_registering_twice_keeps_the_versions(registry: Registry, ladder: Ladder, client: MlflowClient) -> None:
    table, folder = ladder("sml")
    registry.ladder_built(table, folder)
    timed_again = [row.model_copy(update={"latency_ms": 7.5}) for row in table.variants]
    registry.ladder_built(table.model_copy(update={"variants": timed_again}), folder)
    assert state(client) == {name: {"champion": 1} for name in ("whc_s", "whc_m", "whc_l")}
    assert len(client.search_model_versions()) == 3
    version = client.get_model_version_by_alias("whc_m", "champion")
    assert version.tags["latency_ms"] == "7.5"
    assert "**7.5000 ms**" in version.description


def test_a_missing_or_foreign_file_stops_it_before_anything_changes(
    registry: Registry, ladder: Ladder, client: MlflowClient
) -> None:
    table, folder = ladder("sm")
    (folder / "ladder/m.onnx").write_bytes(b"not ONNX")
    with pytest.raises(ArtifactError, match=r"m\.onnx"):
        registry.ladder_built(table, folder)
    (folder / "ladder/m.onnx").unlink()
    with pytest.raises(RegistryError, match=r"whc_m: each of its files must exist"):
        registry.ladder_built(table, folder)
    assert state(client) == {}


def test_a_changed_or_missing_file_is_refused_until_registered_again(registry: Registry, ladder: Ladder) -> None:
    table, folder = ladder("m")
    registry.ladder_built(table, folder)
    file = registry.resolve("whc_m")
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(RegistryError, match=r"must be the file that was registered, got other bytes; register"):
        registry.resolve("whc_m")
    file.unlink()
    with pytest.raises(RegistryError, match=r"whc_m/1: must be at .*whc_m\.onnx, got nothing there; register"):
        registry.resolve("whc_m")
    registry.ladder_built(table, folder)
    assert registry.resolve("whc_m") == file


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("whc_n", r"must be a registered model, got 'whc_n'; did you mean whc_m or whc_l\?"),
        ("zebra", r"got 'zebra'; registered: whc_l, whc_m"),
        ("whc_m/3", r"whc_m: must be one of its versions, got '3'; name one of: whc_m/1"),
        ("whc_m@best", r"whc_m@best: no version has the alias best; name one of: whc_m/1"),
        ("whc_m/x/y", r"must be NAME, NAME@ALIAS or NAME/VERSION, got 'whc_m/x/y'"),
        ("", r"must be NAME, NAME@ALIAS or NAME/VERSION, got ''"),
    ],
)
def test_an_unknown_name_is_told_in_one_line(registry: Registry, ladder: Ladder, name: str, message: str) -> None:
    registry.ladder_built(*ladder("ml"))
    with pytest.raises(RegistryError, match=message) as caught:
        registry.resolve(name)
    assert "\n" not in str(caught.value)


def test_an_empty_registry_says_what_to_run(registry: Registry) -> None:
    with pytest.raises(RegistryError, match=r"none is registered yet: run `whc factory build-table`"):
        registry.resolve("whc_m")


def test_asking_a_registry_that_does_not_exist_does_not_create_it(tmp_path: Path) -> None:
    absent = Location(database=tmp_path / "no" / "mlflow.db")
    with pytest.raises(RegistryError, match=r"whc_m: .*no registry at .*; run `whc factory build-table`"):
        Registry(absent).resolve("whc_m")
    assert not absent.database.parent.exists()

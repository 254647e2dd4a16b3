"""Trials kept where the driver and workers of other machines can both reach them."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pyarrow.fs import FileSelector, FileSystem

from whc.errors import StudyError, UsageError
from whc.trials.storage import Storage


@pytest.fixture(params=["folder", "file", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "s3":
        return Storage(request.getfixturevalue("object_store"), "hands")
    uri = str(tmp_path / "shared") if request.param == "folder" else (tmp_path / "shared").as_uri()
    return Storage(uri, "hands")


def leave(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_what_a_worker_leaves_another_finds(storage: Storage, tmp_path: Path) -> None:
    assert storage.trial_ids() == []
    storage.store("00003", leave(tmp_path / "a", model_onnx="net", record_json="{}", **{".record_json_tmp": "half"}))
    unpickled = pickle.loads(pickle.dumps(storage))  # as Ray sends it
    assert unpickled.trial_ids() == ["00003"]
    unpickled.fetch("00003", ("checkpoint.pt", "model.onnx", "record.json"), tmp_path / "b")
    assert files(tmp_path / "b") == {"model.onnx": "net", "record.json": "{}"}
    unpickled.fetch("00004", ("record.json",), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_trial_is_dropped_with_its_files(storage: Storage, tmp_path: Path) -> None:
    storage.store("00003", leave(tmp_path / "b", record_json="{1}", model_onnx="net"))
    filesystem, path = FileSystem.from_uri(storage.uri)
    infos = filesystem.get_file_info(FileSelector(f"{path}/hands/trials/00003"))
    assert sorted(info.base_name for info in infos) == ["model.onnx", "record.json"]
    storage.fetch("00003", ("record.json", "model.onnx"), tmp_path / "c")
    assert files(tmp_path / "c") == {"record.json": "{1}", "model.onnx": "net"}
    for _ in range(2):  # the second time there is nothing left
        storage.drop("00003")
        assert storage.trial_ids() == []


def test_what_tells_how_far_a_trial_is_comes_last(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or whole(path))
    storage.store("00003", leave(tmp_path / "a", record_json="{}", zebra="", checkpoint_pt=""))
    assert read == ["checkpoint.pt", "zebra", "record.json"]


def test_a_bucket_that_is_not_there(object_store: str) -> None:
    with pytest.raises(UsageError, match=r"storage: must be .*s3://other/.*\(Bucket 'other' not found"):
        Storage(object_store.replace("//bucket/", "//other/"), "hands").check()


@pytest.mark.parametrize("uri", ["nonsense://bucket/x", "relative/folder", "/proc/none/x", "s3://"])
def test_what_is_no_storage_is_told_in_one_line(uri: str) -> None:
    with pytest.raises(UsageError, match=r"storage: must be a folder or a URI .*; give one such as s3://") as error:
        Storage(uri, "hands").check()
    assert uri in str(error.value)
    assert "\n" not in str(error.value)


def test_storage_that_cannot_be_written_to(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "shared"), "hands")
    storage.check()
    (tmp_path / "shared" / "hands" / "trials" / "00003").write_text("in the way")
    with pytest.raises(StudyError, match=r"must be writable, got .*; make it so, then use --resume"):
        storage.store("00003", leave(tmp_path / "a", record_json="{}"))

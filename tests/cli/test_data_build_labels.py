"""Options of `whc data build` for pictures with label files: what they are read as."""

from __future__ import annotations

from pathlib import Path

import pytest

from whc.cli.data.build import label_content


def test_labels_are_names_or_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels").mkdir()
    (tmp_path / "notes").touch()
    assert label_content("labels", None, ())["label_path"] == Path("labels")
    assert label_content("there/is/none.json", None, ())["label_path"] == Path("there/is/none.json")
    for names in ("notes", "no,yes", "x" * 5000):
        assert label_content(names, None, ())["labels"] == names.split(",")


def test_lists_are_repeated_or_with_commas() -> None:
    assert label_content(None, None, ("a/train.txt", "val.txt")) == {"lists": ["a/train.txt", "val.txt"]}
    assert label_content(None, "person, hand", ("a/train.txt, val.txt",)) == {
        "lists": ["a/train.txt", "val.txt"],
        "classes": ["person", "hand"],
    }

"""The start of a search; its whole way is walked by tests/test_chain.py."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from whc import records
from whc.data.dataset import load
from whc.data.synthetic import render
from whc.errors import StudyError
from whc.records import StudyRecord
from whc.search.running import run, study
from whc.search.running.run import Request, search
from whc.tasks.classification import Classification

SPACE = "name: hands\nrecipe: tiny\ntrials: 1\nspace: {model: {image_size: 16}}\n"


def test_unreadable_images_are_told_and_the_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = render(tmp_path, clips=12)
    table = pq.read_table(data)
    pictures = table["image_bytes"].to_pylist()
    pictures[5] = b"no picture"
    place = table.column_names.index("image_bytes")
    pq.write_table(table.set_column(place, table.schema.field(place), pa.array(pictures, pa.binary())), data)
    (tmp_path / "hands.yaml").write_text(SPACE)
    settings, _ = study.read(tmp_path / "hands.yaml")

    def begun(*_: object) -> None:
        raise StudyError("it went on")

    monkeypatch.setattr(run, "Driver", begun)
    out = io.StringIO()
    request = Request("hands-1", tmp_path / "runs", settings, [data], resume=False)
    with pytest.raises(StudyError, match="it went on"):
        search(request, [], Console(file=out, width=200))
    assert "1 unreadable image left out, first " in out.getvalue()
    assert table["image_path"][5].as_py() in out.getvalue()


def test_a_study_of_a_moved_project_goes_on_with_its_own_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_study: Callable[..., StudyRecord]
) -> None:
    data = render(tmp_path / "old", clips=12)
    folder = tmp_path / "old" / "runs" / "hands-1"
    begun = make_study(
        study="hands-1",
        space={"model": {"image_size": 16}},
        data=records.data_name(data, folder),
        data_fingerprint=load(data, [], Classification).fingerprint,
    )
    begun.save(folder)
    (tmp_path / "old").rename(tmp_path / "new")

    def went_on(*_: object) -> None:
        raise StudyError("it went on")

    monkeypatch.setattr(run, "Driver", went_on)
    request = Request("hands-1", tmp_path / "new" / "runs", None, [], resume=True)
    with pytest.raises(StudyError, match="it went on"):
        search(request, [], Console(file=io.StringIO()))

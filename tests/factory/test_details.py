"""The page of a real study once its ladder is built: what each variant shows of the validation split."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whc import records
from whc.data.dataset import load
from whc.factory.build import build_table
from whc.factory.opening import BuildRequest
from whc.records import LadderDetails, StudyRecord
from whc.search.showing.report_observer import ReportObserver
from whc.tasks.classification import Classification

ODD_LABEL = "</script><img src=x> $x^"
RECIPE = "prefix: hand\nmin_gain: 0\nconfidence: 0.01\nmin_over_floor: 0\nrefit: {seeds: 0}\n"
RECIPE += "timing: {min_rounds: 10, max_rounds: 20}\n"


@pytest.fixture
def study(searched: Path, tmp_path: Path) -> Path:
    """A copy of the searched study whose positive label would close a script."""
    folder = Path(shutil.copytree(searched / "wave-1", tmp_path / "runs" / "wave-1"))
    about = StudyRecord.load(folder)
    rows = pq.read_table(about.data_shown)
    ids = rows["class_id"].to_numpy()
    labels = pa.array(np.where(ids == 1, ODD_LABEL, "no").tolist(), pa.string())
    rows = rows.set_column(rows.column_names.index("label"), "label", labels)
    data = folder.parent / "odd.parquet"
    pq.write_table(rows, data)
    fingerprint = load(data, [(16, 16)], Classification).fingerprint
    about.model_copy(update={"data": [str(data)], "data_fingerprint": fingerprint}).save(folder)
    return folder


def built(study: Path, tmp_path: Path, more: str = "") -> tuple[LadderDetails, str]:
    """Build the ladder; its details, and its page."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE + more)
    _, lines = build_table(study, BuildRequest(recipe=str(recipe)), [ReportObserver()], lambda _: None)
    page = study / "report.html"
    assert lines == [f"page: {page}"]
    return records.load(LadderDetails, study / "ladder" / "details.json"), page.read_text(encoding="utf-8")


def test_the_page_holds_the_ladder_and_its_evidence(study: Path, tmp_path: Path) -> None:
    details, page = built(study, tmp_path)
    table = records.load(records.LadderTable, study / "table.json")
    assert list(details.variants) == [row.name for row in table.variants]
    for row in table.variants:
        shown = details.variants[row.name]
        assert shown.val_low <= row.val_score <= shown.val_high
        assert row.sha256 == records.sha256(study / row.file)
        assert (study / "ladder" / shown.diagnostics).stat().st_size > 5000
        assert shown.curves[str(shown.seed)][-1].epoch == 6
        assert len(shown.mistakes) <= 12
        assert all(mistake.picture.startswith("data:image/webp") for mistake in shown.mistakes)
        assert f"whc demo --model {row.name}" in page
    assert any(shown.mistakes for shown in details.variants.values())
    assert "This page holds pictures of the data set" in page
    assert len(page.encode()) < 3_000_000
    assert "<img src=x>" not in page
    assert "&lt;img src=x&gt;" in page
    assert page.count("</script>") == page.count("<script")
    assert (study / "front.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert "<dc:date>" not in (study / "front.svg").read_text(encoding="utf-8")


def test_a_recipe_without_thumbnails_shows_no_picture(study: Path, tmp_path: Path) -> None:
    details, page = built(study, tmp_path, "thumbnails: 0\n")
    assert not details.holds_pictures
    assert not any(shown.mistakes for shown in details.variants.values())
    assert "holds pictures" not in page
    assert page.count("<img") == len(details.variants)  # diagnostics alone


def test_diagnostics_are_drawn_once(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built(study, tmp_path)
    pictures = {path: path.read_bytes() for path in (study / "ladder").glob("*.webp")}
    assert pictures
    with monkeypatch.context() as patch:
        patch.setattr("whc.training.diagnostics.draw", None)
        built(study, tmp_path)
    assert {path: path.read_bytes() for path in (study / "ladder").glob("*.webp")} == pictures
    kept = list((study / "finished").glob("*.webp"))
    assert len(kept) == len(pictures)
    kept[0].write_bytes(kept[0].read_bytes()[:100])  # damaged
    built(study, tmp_path)
    assert {path: path.read_bytes() for path in (study / "ladder").glob("*.webp")} == pictures

"""report.html: whole, self-contained, and a sentence where there is too little to draw."""

from __future__ import annotations

import base64
import gzip
import json
import random
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whc.pages.thumbnails import thumbnail
from whc.records import (
    CurvePoint,
    LadderDetails,
    LadderTable,
    LeftOut,
    ShownMistake,
    StudyRecord,
    TrialRecord,
    VariantDetails,
    VariantRow,
    save,
)
from whc.search.showing import report

Record = Callable[..., TrialRecord]
ODD = "</script><img src=x onerror='hacked = 1'>"
MAX_BYTES = 3_000_000


@pytest.fixture
def trials(record: Record) -> list[TrialRecord]:
    """Forty trials of the whole space, a quarter of them not finished; small and slow-learning ones are worst."""
    rng = random.Random(0)
    made = []
    for i in range(40):
        width, backbone = rng.choice([4, 8]), rng.choice(["baseline", "inverted_se"])
        drawn: dict[str, Any] = {
            "model.backbone": backbone,
            "model.head": rng.choice(["avg", "avgmax_mlp"]),
            "model.width": width,
            "model.depth": rng.choice([2, 4]),
            "model.image_size": rng.choice([16, "24x16"]),
            "training.lr": 10 ** rng.uniform(-3, -2),
        }
        if backbone == "inverted_se":
            drawn["model.backbone.inverted_se.expansion"] = rng.choice([2, 4])
        ms = 0.01 * width * (1 + rng.random() / 10)
        state = ("finished", "finished", "stopped", "finished")[i % 4]
        one = record(f"{i:05d}", state, drawn=drawn, latency_ms=ms, val_score=0.5 + width / 40 + rng.random() / 10)
        curve = [CurvePoint(epoch=1, val_score=0.5, seconds=1), CurvePoint(epoch=2, val_score=0.6, seconds=1)]
        made.append(one.model_copy(update={"elapsed_s": 30.0 * (i + 1), "curve": curve}))
    return [*made, record("00040", "infeasible", latency_ms=9.0), record("00041", "failed", latency_ms=None)]


@pytest.fixture
def ladder(study: StudyRecord, trials: list[TrialRecord]) -> Callable[..., LadderTable]:
    """Leaves the files of a ladder of two variants: `ladder(folder, label)`."""

    def leave(folder: Path, label: str = "yes", count: int = 2, picture: str = "") -> LadderTable:
        rows, details = [], {}
        (folder / "ladder").mkdir(parents=True)
        noise = np.random.default_rng(0).bytes(50_000)  # as large as a real picture
        for number, letter in enumerate("pntscml"[:count]):
            name, trial = f"hand_{letter}", trials[4 * number]
            rows.append(
                VariantRow(
                    name=name,
                    score=0.7,
                    score_low=0.65,
                    score_high=0.75,
                    score_changed={},
                    val_score=0.6 + number / 20,
                    seeds={"0": 0.6},
                    latency_ms=0.05 * (number + 1),
                    latency_low_ms=0.045 * (number + 1),
                    latency_high_ms=0.055 * (number + 1),
                    size_bytes=20_000,
                    params=5_000,
                    runtime="onnxruntime_cpu",
                    file=f"ladder/{name}.onnx",
                    sha256="f00d" * 16,
                    config=trial.config,
                    trial_id=trial.trial_id,
                    notes=["parity is fine", "noisy"],
                )
            )
            (folder / "ladder" / f"{name}.onnx").write_bytes(b"onnx")
            (folder / "ladder" / f"{name}.diagnostics.webp").write_bytes(noise)
            details[name] = VariantDetails(
                val_low=0.55,
                val_high=0.75,
                seed=0,
                curves={"0": trial.curve, "1": trial.curve},
                diagnostics=f"{name}.diagnostics.webp",
                mistakes=[ShownMistake(words=f"{label}, called no", picture=picture)] * 12,
            )
        save(LadderDetails(holds_pictures=True, variants=details), folder / "ladder" / "details.json")
        left_out = [LeftOut(trial_id="00002", val_score=0.5, latency_ms=0.07, reason=f"worse than {label}")]
        table = LadderTable(
            study=study.study,
            prefix="hand",
            task="classification",
            labels=["no", label],
            metric=study.metric,
            data_fingerprint="f00d",
            code_version="1",
            host="here",
            noisy=True,
            aa_ratio=1.0,
            floor=0.5,
            confidence=0.8,
            variants_at_95=1,
            variants=rows,
            left_out=left_out,
        )
        save(table, folder / "table.json")
        return table

    return leave


class Page(HTMLParser):
    """What a page would fetch, its scripts, its headings and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.scripts: list[str] = []
        self.tags: list[str] = []
        self.headings: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(text)
        packed = [script for script in self.scripts if script.startswith("H4sI")]  # gzip in base64
        self.data = json.loads(gzip.decompress(base64.b64decode(min(packed, key=len)))) if packed else {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.tags.append(tag)
        self.fetched += [f"{tag} {value}" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data
            self.headings += [data] * (self._inside in ("h1", "h2"))


def written(study: StudyRecord, records: list[TrialRecord], folder: Path) -> Page:
    path = report.write(study, records, folder)
    return Page(path.read_text(encoding="utf-8"))


SEARCH = ["The best over time", "What matters", "Parameters", "Trials"]


def test_a_search_has_a_page(study: StudyRecord, trials: list[TrialRecord], tmp_path: Path) -> None:
    page = written(study, trials, tmp_path)
    assert page.headings == ["hands", "Front", *SEARCH]
    assert page.fetched == []
    assert len(page.data["figures"]) == 6
    assert page.data["firstCurve"] in page.data["curves"]
    for fact in ("hands", "42 of 4 ended: 30 finished, 10 stopped, 1 rejected, 1 failed", "F1 0.5000", "f00d"):
        assert fact in page.text
    assert "latency_ms 1, size_bytes 1e+06" in page.text
    assert "at least" not in page.text
    assert (tmp_path / "report.html").stat().st_size < MAX_BYTES


def test_a_ladder_comes_first(
    study: StudyRecord, trials: list[TrialRecord], ladder: Callable[..., LadderTable], tmp_path: Path
) -> None:
    ladder(tmp_path)
    page = written(study, trials, tmp_path)
    assert page.headings == ["hands", "Ladder", "Front", "Variants", "Left out because", *SEARCH]
    assert "This page holds pictures of the data set" in page.text
    assert "hand_p, hand_n: noisy" in page.text
    assert "whc demo --model hand_n" in page.text
    assert page.text.count("yes, called no") == 24
    assert page.text.count("cannot be shown") == 24
    assert [name for name in page.fetched if "data:" not in name] == ["a ladder/hand_p.onnx", "a ladder/hand_n.onnx"]
    front = page.data["figures"]["figure-0"]
    names = [trace.get("name") for trace in front["data"]]
    assert "ladder (2)" in names
    assert "left out (1)" in names
    variants = next(trace for trace in front["data"] if trace.get("name") == "ladder (2)")
    assert variants["text"] == ["P", "N"]
    assert variants["error_x"]["array"] == pytest.approx([0.005, 0.01])
    assert variants["error_y"]["arrayminus"] == pytest.approx([0.05, 0.1])
    assert page.data["firstCurve"] == "hand_n"


def test_a_file_that_is_gone_says_what_brings_it_back(
    study: StudyRecord, trials: list[TrialRecord], ladder: Callable[..., LadderTable], tmp_path: Path
) -> None:
    ladder(tmp_path)
    (tmp_path / "ladder" / "hand_p.onnx").unlink()
    (tmp_path / "ladder" / "hand_p.diagnostics.webp").unlink()
    page = written(study, trials, tmp_path)
    assert "ladder/hand_p.onnx is gone; `whc factory build-table --study hands` makes it again" in page.text
    (tmp_path / "ladder" / "details.json").unlink()
    page = written(study, trials, tmp_path)
    assert "Diagnostics are absent" in page.text
    assert "holds pictures" not in page.text


def test_a_damaged_ladder_costs_no_page(study: StudyRecord, trials: list[TrialRecord], tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text("{")
    page = written(study, trials, tmp_path)
    assert page.headings == ["hands", "Ladder", "Front", *SEARCH]
    assert "build it again with `whc factory build-table --study " in page.text


def test_damaged_details_cost_no_table(
    study: StudyRecord, trials: list[TrialRecord], ladder: Callable[..., LadderTable], tmp_path: Path
) -> None:
    ladder(tmp_path)
    (tmp_path / "ladder" / "details.json").write_text("{")
    page = written(study, trials, tmp_path)
    assert page.headings == ["hands", "Ladder", "Front", "Variants", "Left out because", *SEARCH]
    assert "hand_p" in page.text
    assert "details.json: " in page.text
    assert "Diagnostics are absent" in page.text


def test_text_is_text(
    study: StudyRecord, trials: list[TrialRecord], ladder: Callable[..., LadderTable], tmp_path: Path
) -> None:
    ladder(tmp_path / "plain")
    expected = written(study, trials, tmp_path / "plain")
    ladder(tmp_path / "odd", ODD)
    odd_study = study.model_copy(update={"data": [ODD]})
    odd_trials = [one.model_copy(update={"reason": one.reason and ODD}) for one in trials]
    odd_trials[0] = odd_trials[0].model_copy(update={"drawn": {**trials[0].drawn, "model.backbone": ODD}})
    page = written(odd_study, odd_trials, tmp_path / "odd")
    assert page.tags == expected.tags
    assert page.text.count(ODD) >= 30
    figures = json.dumps([trace.get("text") for each in page.data["figures"].values() for trace in each["data"]])
    assert "<img" not in figures
    assert "&lt;img" in figures


def test_the_same_study_makes_the_same_page(study: StudyRecord, trials: list[TrialRecord], tmp_path: Path) -> None:
    written(study, trials, tmp_path)
    first = (tmp_path / "report.html").read_bytes()
    written(study, trials[::-1], tmp_path)
    assert (tmp_path / "report.html").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_page_is_drawn_again_when_something_on_it_has_changed(
    study: StudyRecord,
    trials: list[TrialRecord],
    ladder: Callable[..., LadderTable],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report.records, "trial_records", lambda folder: iter(trials))
    monkeypatch.setattr(report.records, "code_version", lambda: "1")
    study.save(tmp_path)
    page = report.draw(tmp_path)

    def drawn_again() -> bool:
        page.write_bytes(b"mark" + page.read_bytes())
        report.draw(tmp_path)
        return not page.read_bytes().startswith(b"mark")

    assert not drawn_again()
    ladder(tmp_path)
    assert drawn_again()
    (tmp_path / "ladder" / "details.json").unlink()
    assert drawn_again()
    trials.pop()
    assert drawn_again()
    study.model_copy(update={"host": "elsewhere"}).save(tmp_path)
    assert drawn_again()
    monkeypatch.setattr(report.records, "code_version", lambda: "2")
    assert drawn_again()
    assert not drawn_again()
    monkeypatch.setattr(report.records, "code_version", lambda: "2-dirty")
    assert drawn_again()
    assert drawn_again()  # the version does not tell which changes the code has


def test_a_large_study_has_a_page_of_less_than_3_mb(
    study: StudyRecord, trials: list[TrialRecord], ladder: Callable[..., LadderTable], tmp_path: Path
) -> None:
    curve = [{"epoch": i + 1, "val_score": 0.5 + i / 200, "seconds": 1.0} for i in range(60)]
    grown = [
        TrialRecord.model_validate(
            one.model_dump(by_alias=True) | {"trial_id": f"{number:02d}{one.trial_id[2:]}", "curve": curve}
        )
        for number in range(60)
        for one in trials
    ]
    coarse = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    ladder(tmp_path, count=7, picture=thumbnail(coarse))
    path = report.write(study, grown, tmp_path)
    assert path.stat().st_size < MAX_BYTES


@pytest.mark.parametrize("kept", [0, 1, 2, 9])
@pytest.mark.parametrize("states", [("finished",), ("stopped",), ("infeasible", "failed"), ("finished", "failed")])
def test_few_trials(
    states: tuple[str, ...], kept: int, study: StudyRecord, trials: list[TrialRecord], tmp_path: Path
) -> None:
    few = [one.model_copy(update={"state": states[i % len(states)]}) for i, one in enumerate(trials[:kept])]
    text = written(study, few, tmp_path).text
    trained = kept and states[0] in ("finished", "stopped")
    finished = sum(one.state == "finished" for one in few)
    assert ("No trial has finished" in text) == (finished == 0)
    assert ("No trial has been trained" in text) == (not trained)
    missing = f"For validation F1, at least 4 finished trials must differ in it; {finished} do." in text
    assert missing == (finished < 4)
    assert ("With " in text and "this is a first hint" in text) == (4 <= finished < 20 or finished < 4)
    assert ("Needs two finished trials or more and a drawn parameter" in text) == (finished < 2)


def test_a_study_without_drawn_parameters(study: StudyRecord, trials: list[TrialRecord], tmp_path: Path) -> None:
    fixed: dict[str, Any] = {"drawn": {}}
    page = written(study, [each.model_copy(update=fixed) for each in trials[:20]], tmp_path)
    assert "For log latency, at least one parameter must be drawn." in page.text
    assert "Needs two finished trials or more and a drawn parameter; there are 15 and 0." in page.text

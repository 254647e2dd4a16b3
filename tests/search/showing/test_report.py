"""report.html: whole, self-contained, and a sentence where there is too little to draw."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plotly.graph_objects import Figure

from whc.errors import StudyError
from whc.records import Metric, StudyRecord, TrialRecord
from whc.records.results import hypervolume_of
from whc.search.showing import report
from whc.search.space import space
from whc.search.space.summary import summary

Record = Callable[..., TrialRecord]
F1 = Metric(key="f1", name="F1")


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
        made.append(one.model_copy(update={"elapsed_s": 30.0 * (i + 1)}))
    return [*made, record("00040", "infeasible", latency_ms=9.0), record("00041", "failed", latency_ms=None)]


class Page(HTMLParser):
    """What a page would fetch, its scripts, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self.ids: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        given = dict(attrs)
        self.fetched += [f"{tag} {value}" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        self.ids += [str(given["id"])] if "id" in given else []
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data


def written(study: StudyRecord, records: list[TrialRecord], folder: Path) -> Page:
    report.write(study, records, folder / "report.html")
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def figure(section: report.ReportSection) -> Figure:
    (only,) = section.figures
    assert isinstance(only, Figure)
    return only


def test_the_page_needs_nothing_else(study: StudyRecord, trials: list[TrialRecord], tmp_path: Path) -> None:
    page = written(study, trials, tmp_path)
    assert page.fetched == []
    library, *plots = sorted(page.scripts, key=len, reverse=True)
    assert len(library) > 1_000_000
    assert all(len(plot) < 200_000 for plot in plots)  # plotly itself is there once
    assert sum("Plotly.newPlot" in plot for plot in plots) == 5
    assert len(set(page.ids)) == len(page.ids) == 5


def test_the_page_tells_the_facts(study: StudyRecord, trials: list[TrialRecord], tmp_path: Path) -> None:
    text = written(study, trials, tmp_path).text
    for fact in ("hands", "42 of 4 ended: 30 finished, 10 stopped, 1 rejected, 1 failed", "F1 0.5000", "f00d"):
        assert fact in text
    assert "latency_ms 1, size_bytes 1e+06" in text
    assert "at least" not in text


def test_text_is_text(study: StudyRecord, tmp_path: Path) -> None:
    odd = "</dd><script>alert(1)</script> & co.parquet"
    page = written(study.model_copy(update={"data": [odd]}), [], tmp_path)
    assert odd in page.text
    assert len(page.scripts) == 1


def test_the_same_study_makes_the_same_page(study: StudyRecord, trials: list[TrialRecord], tmp_path: Path) -> None:
    written(study, trials, tmp_path)
    first = (tmp_path / "report.html").read_bytes()
    written(study, trials[::-1], tmp_path)
    assert (tmp_path / "report.html").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_hypervolume_over_minutes(study: StudyRecord, record: Record) -> None:
    ended = [
        record("00000", "finished", latency_ms=0.5, val_score=0.7).model_copy(update={"elapsed_s": 120.0}),
        record("00001", "stopped", latency_ms=0.1, val_score=0.9).model_copy(update={"elapsed_s": 90.0}),
        record("00002", "finished", latency_ms=0.5, val_score=0.6).model_copy(update={"elapsed_s": 60.0}),
    ]
    drawn = figure(report._progress(study, ended))
    halves = 0.6931472
    assert list(drawn.data[0].x) == [0, 1, 1.5, 2]
    assert list(drawn.data[0].y) == pytest.approx([0, 0.1 * halves, 0.1 * halves, 0.2 * halves])
    assert drawn.layout.xaxis.title.text == "minutes of searching"


def test_records_that_do_not_tell_the_time_are_drawn_in_their_order(study: StudyRecord, record: Record) -> None:
    ended = [record(f"{i:05d}", "finished", latency_ms=0.5, val_score=0.6 + i / 10) for i in range(3)]
    ended[1] = ended[1].model_copy(update={"elapsed_s": 5.0})  # the study was resumed
    drawn = figure(report._progress(study, ended))
    assert list(drawn.data[0].x) == [0, 1, 2, 3]
    assert drawn.layout.xaxis.title.text == "trials that ended"


point = st.tuples(st.sampled_from(["finished", "stopped", "infeasible"]), st.floats(0.01, 10), st.floats(0, 1))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(points=st.lists(point, min_size=1, max_size=20), limited=st.booleans(), seconds=st.randoms())
def test_hypervolume_never_falls_and_ends_where_the_study_stands(
    points: list[tuple[str, float, float]], limited: bool, seconds: random.Random, study: StudyRecord, record: Record
) -> None:
    study = study if limited else study.model_copy(update={"limits": {}})
    ended = [
        record(f"{i:05d}", state, latency_ms=ms, val_score=f1).model_copy(update={"elapsed_s": seconds.uniform(1, 9)})
        for i, (state, ms, f1) in enumerate(points)
    ]
    (shown,) = report._progress(study, ended).figures
    if isinstance(shown, str):
        assert not any(state == "finished" for state, _, _ in points)
        return
    x, y = list(shown.data[0].x), list(shown.data[0].y)
    assert x == sorted(x)
    assert y == sorted(y)
    assert y[-1] == pytest.approx(hypervolume_of(study, ended))


def test_the_front_names_its_trials(record: Record) -> None:
    ended = [
        record("00000", "finished", latency_ms=0.2, val_score=0.7),
        record("00001", "finished", latency_ms=0.3, val_score=0.6),
        record("00002", "finished", latency_ms=0.4, val_score=0.9),
        record("00003", "infeasible", latency_ms=2.0),
        record("00004", "stopped", latency_ms=0.1, val_score=0.99),
    ]
    drawn = figure(report._front(F1, ended))
    places = {trace.name: list(zip(trace.x, trace.y, strict=True)) for trace in drawn.data}
    assert places == {
        "cut short (1)": [(0.1, 0.99)],
        "finished (1)": [(0.3, 0.6)],
        "front (2)": [(0.2, 0.7), (0.4, 0.9)],
    }
    assert drawn.layout.xaxis.type == "log"
    hover = drawn.data[-1].text[0]
    assert hover.startswith(f"00000: {summary(ended[0].config)}<br>F1 0.7000, 0.2000 ms")


def test_what_matters_is_found(tree: space.Section, trials: list[TrialRecord]) -> None:
    section = report._importances(F1, report._sampled(F1, trials, space.distributions(tree), "study.yaml", whole=True))
    f1, latency = section.figures
    assert isinstance(f1, Figure)
    assert isinstance(latency, Figure)
    for shown in (f1, latency):
        (bars,) = shown.data
        shares = dict(zip(bars.y, bars.x, strict=True))
        assert sum(shares.values()) == pytest.approx(1)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert next(iter(shares)) == "width"
        assert "expansion" in shares  # hangs on a choice


def test_of_many_trials_the_best_are_drawn(record: Record) -> None:
    many = [record(f"{i:05d}", "finished", latency_ms=1.0, val_score=i / 1000) for i in range(report.MAX_LINES + 50)]
    assert {one.trial_id for one in report._best(many)} == {one.trial_id for one in many[50:]}


def test_a_parameter_is_shown_for_each_trial(tree: space.Section, trials: list[TrialRecord]) -> None:
    drawn = figure(report._parameters(report._sampled(F1, trials, space.distributions(tree), "study.yaml")))
    axes = ["val_f1", "latency ms", "backbone", "depth", "expansion", "head", "image_size", "lr", "width"]
    assert list(drawn.layout.xaxis.ticktext) == axes
    assert sum(trace.mode == "lines" for trace in drawn.data) == 30


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
    assert f"For validation F1, at least 10 finished trials must differ in it; {finished} do." in text
    assert ("Needs at least two finished trials and a drawn parameter" in text) == (finished < 2)


def test_one_parameter_is_nothing_to_compare(study: StudyRecord, trials: list[TrialRecord], tmp_path: Path) -> None:
    one = study.model_copy(update={"space": {"model": {"width": [4, 8]}}})
    drawn = [each.model_copy(update={"drawn": {"model.width": 4}}) for each in trials[:20]]
    assert "For log latency, at least two parameters must be drawn." in written(one, drawn, tmp_path).text
    none = [each.model_copy(update={"drawn": {}}) for each in trials[:20]]
    text = written(study.model_copy(update={"space": {}}), none, tmp_path).text
    assert re.search(r"Needs at least two finished trials and a drawn parameter; there are 15 and 0\.", text)


def test_a_space_that_was_changed_is_told(study: StudyRecord, trials: list[TrialRecord], tmp_path: Path) -> None:
    other = study.model_copy(update={"space": {"model": {"width": [4, 8]}}})
    told = r"study.yaml: the space must hold what trial 00000 drew, got {.*; put study.yaml back as it was"
    with pytest.raises(StudyError, match=told):
        report.write(other, trials, tmp_path / "report.html")


def test_short_names() -> None:
    keys = ["model.backbone", "model.sequence.lstm.frames", "model.sequence.cnn3d.frames", "training.lr"]
    assert list(report._short(keys).values()) == ["backbone", "lstm.frames", "cnn3d.frames", "lr"]

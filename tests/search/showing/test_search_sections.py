"""The sections of the search: what its figures and its table hold."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whc.pages import Figure, Section, SideBySide, Table, Text
from whc.records import Metric, StudyRecord, TrialRecord
from whc.records.results import hypervolume_of
from whc.search.showing import front_section, search_sections
from whc.search.showing.importances import importances
from whc.search.space.summary import summary

Record = Callable[..., TrialRecord]
F1 = Metric(key="f1", name="F1")


def progress(section: Section) -> list[Figure]:
    (beside,) = (part for part in section.parts if isinstance(part, SideBySide))
    return [part for part in beside.parts if isinstance(part, Figure)]


def test_the_best_over_minutes(study: StudyRecord, record: Record) -> None:
    ended = [
        record("00000", "finished", latency_ms=0.5, val_score=0.7).model_copy(update={"elapsed_s": 120.0}),
        record("00001", "stopped", latency_ms=0.1, val_score=0.9).model_copy(update={"elapsed_s": 90.0}),
        record("00002", "finished", latency_ms=0.5, val_score=0.6).model_copy(update={"elapsed_s": 60.0}),
    ]
    best, volume = progress(search_sections._progress(study, ended))
    halves = 0.6931472
    assert volume.data[0]["x"] == [0, 1, 2]
    assert volume.data[0]["y"] == pytest.approx([0, 0.1 * halves, 0.2 * halves], rel=1e-4)
    assert volume.layout["xaxis"]["title"]["text"] == "minutes of searching"
    assert list(zip(best.data[0]["x"], best.data[0]["y"], strict=True)) == [(1, 0.6), (2, 0.7)]


def test_records_that_do_not_tell_the_time_are_drawn_in_their_order(study: StudyRecord, record: Record) -> None:
    ended = [record(f"{i:05d}", "finished", latency_ms=0.5, val_score=0.6 + i / 10) for i in range(3)]
    ended[1] = ended[1].model_copy(update={"elapsed_s": 5.0})  # the study was resumed
    _, volume = progress(search_sections._progress(study, ended))
    assert volume.data[0]["x"] == [0, 1, 2, 3]
    assert volume.layout["xaxis"]["title"]["text"] == "trials that ended"


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
    section = search_sections._progress(study, ended)
    if isinstance(section.parts[0], Text) and section.parts[0].is_missing:
        assert not any(state == "finished" for state, _, _ in points)
        return
    for figure in progress(section):
        assert figure.data[0]["x"] == sorted(figure.data[0]["x"])
        assert figure.data[0]["y"] == sorted(figure.data[0]["y"])
    assert progress(section)[1].data[0]["y"][-1] == pytest.approx(hypervolume_of(study, ended), rel=1e-4)


def test_the_front_names_its_trials(study: StudyRecord, record: Record) -> None:
    ended = [
        record("00000", "finished", latency_ms=0.2, val_score=0.7),
        record("00001", "finished", latency_ms=0.3, val_score=0.6),
        record("00002", "finished", latency_ms=0.4, val_score=0.9),
        record("00003", "infeasible", latency_ms=2.0),
        record("00004", "stopped", latency_ms=0.1, val_score=0.99),
    ]
    section = front_section.front(study, ended, None, None)
    (drawn,) = (part for part in section.parts if isinstance(part, Figure))
    *groups, chosen = drawn.data
    places = {trace["name"]: list(zip(trace["x"], trace["y"], strict=True)) for trace in groups}
    assert places == {
        "stopped early (1)": [(0.1, 0.99)],
        "finished (1)": [(0.3, 0.6)],
        "front of the search (2)": [(0.2, 0.7), (0.4, 0.9)],
    }
    assert chosen["x"] == []
    assert drawn.layout["xaxis"]["type"] == "log"
    hover = groups[-1]["text"][0]
    assert hover.startswith(f"trial 00000, finished: {summary(ended[0].config)}<br>F1 0.7000, 0.2000 ms")


@pytest.mark.parametrize("count", [8, 40])
def test_what_matters_is_seen(count: int) -> None:
    rng = random.Random(1)
    drawn: list[dict[str, Any]] = [
        {"width": rng.choice([4, 8, 16]), "head": rng.choice(["avg", "mlp"]), "lr": rng.random()} for _ in range(count)
    ]
    for each in drawn[::2]:
        each["expansion"] = rng.choice([2, 4])  # hangs on a choice
    shares = importances(drawn, [each["width"] + rng.random() / 10 for each in drawn])
    assert isinstance(shares, dict)
    assert shares.keys() == {"width", "head", "lr", "expansion"}
    assert sum(share for share, _ in shares.values()) == pytest.approx(1)
    assert [share for share, _ in shares.values()] == sorted((share for share, _ in shares.values()), reverse=True)
    assert next(iter(shares)) == "width"


def test_of_many_trials_the_best_are_shown(study: StudyRecord, record: Record) -> None:
    many = [
        record(f"{i:05d}", "finished", drawn={"model.width": i % 9}, latency_ms=1.0, val_score=i / 1000)
        for i in range(search_sections.MAX_ROWS + 50)
    ]
    *_, parameters, trials = search_sections.sections(study, many)
    (table,) = (part for part in trials.parts if isinstance(part, Table))
    assert set(table.trial_ids) == {one.trial_id for one in many[50:]}
    (drawn,) = (part for part in parameters.parts if isinstance(part, Figure))
    shown = {trial for trace in drawn.data for trial in trace["customdata"] if trial}
    assert shown == {one.trial_id for one in many[-search_sections.MAX_LINES :]}


def test_the_table_of_trials_has_all_that_was_drawn(study: StudyRecord, record: Record) -> None:
    ended = [
        record("00000", "finished", drawn={"model.width": 4, "model.head": "avg"}, latency_ms=0.2, val_score=0.7),
        record("00001", "failed", drawn={"model.width": 8}, latency_ms=None),
    ]
    (table,) = (part for part in search_sections._trials(F1, ended).parts if isinstance(part, Table))
    titles = [column.title for column in table.columns]
    assert titles[:4] == ["trial", "state", "val F1", "ms"]
    assert titles[-3:] == ["head", "width", "why it ended"]
    shown = [[cell if isinstance(cell, str) else cell.text for cell in row] for row in table.rows]
    assert shown[0][:4] == ["00000", "finished", "0.7000", "0.2000"]
    assert shown[0][-3:] == ["avg", "4", ""]
    assert shown[1][:4] == ["00001", "failed", "", ""]
    assert shown[1][-3:] == ["", "8", "it failed"]


def test_short_names() -> None:
    keys = ["model.backbone", "model.sequence.lstm.frames", "model.sequence.cnn3d.frames", "training.lr"]
    short = front_section.short_names(keys)
    assert [short[key] for key in keys] == ["backbone", "lstm.frames", "cnn3d.frames", "lr"]

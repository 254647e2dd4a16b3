"""What a search shows, on a terminal and elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from whc.records import CurvePoint, StudyRecord, TrialRecord
from whc.records.results import front_trials
from whc.search.showing.display import (
    FRONT_ROWS,
    PLOT_COLUMNS,
    PLOT_ROWS,
    Display,
    front_plot,
    front_table,
)
from whc.trials.config import TrialConfig

Record = Callable[..., TrialRecord]
COLUMNS, LINES = 100, 30


def terminal(width: int = COLUMNS, height: int = LINES) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=width, height=height, legacy_windows=False), out


def begun(console: Console, study: StudyRecord, known: Sequence[TrialRecord] = ()) -> Display:
    """A display that draws only when it is asked to: its live view, which a thread draws, is over."""
    display = Display(console)
    display.study_started(study, known)
    display.study_ended(study.study, Path())
    return display


def view(display: Display) -> list[str]:
    """The lines of a live view, without their colours."""
    lines = display._console.render_lines(display._render(), pad=False)
    return ["".join(part.text for part in line) for line in lines]


def plain(width: int = COLUMNS) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=False, width=width, highlight=False), out


@pytest.fixture
def ended(record: Record) -> list[TrialRecord]:
    """One of each state; of the finished ones, 1 is dominated by 0."""
    return [
        record("00000", "finished", latency_ms=0.2, val_score=0.7),
        record("00001", "finished", latency_ms=0.3, val_score=0.6),
        record("00002", "finished", latency_ms=0.4, val_score=0.9),
        record("00003", "infeasible", latency_ms=2.0),
        record("00004", "failed", latency_ms=None),
        record("00005", "stopped", latency_ms=0.1, val_score=0.99),
    ]


def test_front_table_holds_finished_trials_that_are_not_dominated(study: StudyRecord, ended: list[TrialRecord]) -> None:
    console, out = plain()
    console.print(*front_table(study.metric, ended))
    text = out.getvalue()
    assert [trial_id for trial_id in (f"0000{i}" for i in range(6)) if trial_id in text] == ["00000", "00002"]
    assert text.index("00000") < text.index("00002")  # fastest first
    assert "0.7000" in text
    assert "0.2000" in text
    assert "20" in text  # kilobytes


def test_front_table_without_finished_trials(study: StudyRecord, ended: list[TrialRecord]) -> None:
    for none in ([], ended[3:]):
        assert front_table(study.metric, none) == []


def test_a_long_front_shows_its_most_accurate_end(study: StudyRecord, record: Record) -> None:
    many = [
        record(f"{i:05d}", "finished", latency_ms=0.1 + i / 100, val_score=0.5 + i / 100) for i in range(FRONT_ROWS + 3)
    ]
    (table,) = front_table(study.metric, many)
    assert table.row_count == FRONT_ROWS
    assert table.caption == "and 3 faster ones"
    console, out = plain()
    console.print(table)
    assert f"{FRONT_ROWS + 2:05d}" in out.getvalue()
    assert "00002 " not in out.getvalue()


def test_all_of_a_long_front_can_be_had(study: StudyRecord, record: Record) -> None:
    many = [record(f"{i:05d}", "finished", latency_ms=0.1 + i, val_score=0.5 + i / 100) for i in range(FRONT_ROWS + 3)]
    (table,) = front_table(study.metric, many, rows=len(many))
    assert table.row_count == len(many)
    assert table.caption is None


def cells(plot: str) -> list[str]:
    """The plot itself, without legend, scale and axis."""
    lines = [line.partition("|") for line in plot.splitlines()[1:-1]]
    assert all(bar for _, bar, _ in lines)
    return [inside for _, _, inside in lines]


def test_the_plot_puts_each_trial_in_its_place(study: StudyRecord, record: Record) -> None:
    ended = [
        record("00000", "finished", latency_ms=0.01, val_score=0.5),
        record("00001", "finished", latency_ms=1.0, val_score=0.9),
        record("00002", "finished", latency_ms=0.1, val_score=0.5),  # halfway: latency is drawn as its log
        record("00003", "stopped", latency_ms=1.0, val_score=0.7),
        record("00004", "infeasible", latency_ms=100.0),
        record("00005", "failed", latency_ms=None),
    ]
    (plot,) = front_plot(study.model_copy(update={"floor": 0.2}), ended, rows=5)
    found = {(y, x): mark for y, line in enumerate(cells(plot.plain)) for x, mark in enumerate(line) if mark != " "}
    last = PLOT_COLUMNS - 1
    assert found == {(4, 0): "●", (0, last): "●", (4, round(last / 2)): "○"}
    legend, top, *_, bottom, axis = plot.plain.splitlines()
    assert legend == "val_f1  ● front  ○ other finished"
    assert top.startswith("0.9000 |")
    assert bottom.startswith("0.5000 |")
    assert axis.split() == ["0.0100", "1.0000", "ms"]


def test_what_is_no_better_than_the_constant_predictor_lies_on_the_lowest_line(
    study: StudyRecord, record: Record
) -> None:
    ended = [
        record("00000", "finished", latency_ms=0.1, val_score=0.01),
        record("00001", "finished", latency_ms=0.2, val_score=0.6),
        record("00002", "finished", latency_ms=0.4, val_score=0.8),
    ]
    (plot,) = front_plot(study.model_copy(update={"floor": 0.6}), ended, rows=3)
    top, middle, bottom = cells(plot.plain)
    assert (top.count("●"), middle.count("●"), bottom.count("●")) == (1, 0, 2)
    assert "0.6000 |" in plot.plain


def test_nothing_is_plotted_while_none_has_finished(study: StudyRecord, ended: list[TrialRecord]) -> None:
    for none in ([], ended[3:]):
        assert front_plot(study, none) == []


finite = st.floats(1e-3, 1e3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    trials=st.lists(st.tuples(st.sampled_from(["finished", "stopped"]), finite, st.floats(0, 1)), max_size=30),
    floor=st.floats(0, 1),
    rows=st.integers(2, 12),
)
def test_a_plot_keeps_its_size_and_shows_the_front(
    trials: list[tuple[str, float, float]], floor: float, rows: int, study: StudyRecord, record: Record
) -> None:
    ended = [record(f"{i:05d}", state, latency_ms=ms, val_score=f1) for i, (state, ms, f1) in enumerate(trials)]
    plots = front_plot(study.model_copy(update={"floor": floor}), ended, rows)
    assert bool(plots) == any(state == "finished" for state, _, _ in trials)
    for plot in plots:
        inside = cells(plot.plain)
        assert [len(line) for line in inside] == [PLOT_COLUMNS] * rows
        assert 1 <= "".join(inside).count("●") <= len(front_trials(ended))


def test_one_plain_line_a_trial_when_not_on_a_terminal(study: StudyRecord, ended: list[TrialRecord]) -> None:
    console, out = plain(40)
    with Display(console) as display:
        display.study_started(study, ended[:1])
        for record in ended[1:]:
            display.trial_runs(record.trial_id, "epoch 1 val_f1 0.500")
            display.trial_ended(record)
    lines = out.getvalue().splitlines()
    assert len(lines) == len(ended) - 1
    network = "baseline/avg rgb w32 d4 32px"
    assert lines[0] == f"[2/4] 00001 finished: val_f1 0.6000, 0.3000 ms, {network}"
    assert lines[2] == f"[4/4] 00003 infeasible: it infeasible, 2.0000 ms, {network}"
    assert lines[3] == f"[5/4] 00004 failed: it failed, no latency, {network}"
    assert "\x1b" not in out.getvalue()


class Clock:
    """Stands for `time` in the display: seconds pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    passing = Clock()
    monkeypatch.setattr("whc.search.showing.display.time", passing)
    return passing


def test_the_bar_moves_while_trials_train(study: StudyRecord, record: Record, clock: Clock) -> None:
    display = begun(terminal()[0], study.model_copy(update={"trials": 12, "workers": 1}))
    done = []
    for number in range(6):
        display.trial_runs(f"{number:05d}", "starts")
        clock.now += 40
        display.trial_ended(record(f"{number:05d}", "finished", val_score=0.6 + number / 100))
        view(display)
        done.append(display._progress.tasks[0].completed)
    assert done == pytest.approx([number / 12 for number in range(1, 7)])
    line = view(display)[0]
    assert "6/12 trials" in line
    assert "about 4 min left" in line


def test_a_resumed_search_goes_on_from_its_seconds(study: StudyRecord, record: Record, clock: Clock) -> None:
    curve = [CurvePoint(epoch=epoch, val_score=0.7, seconds=10.0) for epoch in (1, 2)]
    before = record("00000", "finished", val_score=0.7).model_copy(update={"elapsed_s": 100.0, "curve": curve})
    display = begun(terminal()[0], study, [before])
    clock.now += 20
    assert "left" in view(display)[0]
    assert 0 < display._progress.tasks[0].completed < 1
    assert display._searched_s() == 120


def test_nothing_is_estimated_before_anything_is_known(study: StudyRecord, clock: Clock) -> None:
    display = begun(terminal()[0], study)
    display.trial_runs("00000", "starts")
    clock.now += 60
    assert "left" not in view(display)[0]


@pytest.mark.parametrize(("height", "rows"), [(LINES, PLOT_ROWS), (24, 4), (20, 0)])
def test_the_view_fits_the_terminal(height: int, rows: int, study: StudyRecord, record: Record) -> None:
    display = begun(terminal(height=height)[0], study)
    for i in range(FRONT_ROWS + 3):
        display.trial_ended(record(f"{i:05d}", "finished", latency_ms=0.1 + i / 100, val_score=0.5 + i / 100))
    display.trial_runs("00099", "epoch 1 val_f1 0.500")
    lines = view(display)
    assert len(lines) < height
    assert sum(line[7:8] == "|" for line in lines) == rows


def test_a_terminal_without_unicode_gets_plain_marks(study: StudyRecord, ended: list[TrialRecord]) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    display = begun(
        Console(file=out, force_terminal=True, color_system=None, width=COLUMNS, height=LINES), study, ended
    )
    display._console.print(display._render())
    out.flush()
    assert "# front  o other finished" in out.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]


def test_brackets_in_a_reason_are_shown_as_they_are(study: StudyRecord, record: Record) -> None:
    console, out = plain()
    reason = "got [bold]8[/bold] and [/nonsense]"
    with Display(console) as display:
        display.study_started(study, [])
        display.trial_ended(record("00000", "failed").model_copy(update={"reason": reason}))
    assert reason in out.getvalue()


def test_lines_fit_a_terminal(study: StudyRecord, ended: list[TrialRecord], record: Record) -> None:
    console, out = terminal()
    widest = TrialConfig.model_validate(
        {
            "model": {
                "backbone": {"inverted_se": {}},
                "head": "avgmax_mlp",
                "sequence": {"frame_stack": {"frames": 16}},
                "image_size": "128x120",
                "color": "luma",
                "width": 128,
            }
        }
    )
    with Display(console) as display:
        display.study_started(study.model_copy(update={"study": "a-study-of-hands-12", "trials": 200}), [])
        for one in [*ended, record("00006", "finished", widest, latency_ms=0.9, val_score=0.95)]:
            display.trial_runs(one.trial_id, "epoch 12 val_f1 0.512")
            display.trial_ended(one)
        display.expected(0.1234)
        for trial_id in ("00007", "00008"):
            display.trial_runs(trial_id, "epoch 12 val_f1 0.512")
        shown, still = terminal()
        shown.print(display._render())
    lines = view(display)
    assert all(cell_len(line) <= COLUMNS for line in lines)
    text = "\n".join(line.rstrip() for line in lines)
    assert "a-study-of-hands-12" in text
    assert "7/200 trials" in text
    assert "4 finished, 1 stopped, 1 rejected, 1 failed, 2 running; hypervolume 0.5" in text
    assert "expected of the next 10 trials: +12.3%" in " ".join(text.split())
    assert "00007 epoch 12 val_f1 0.512; 00008 epoch 12 val_f1 0.512" in text
    assert "inverted_se/avgmax_mlp luma w128 d4 128x120px x16" in text  # on one line
    assert "\x1b" in out.getvalue()
    assert still.getvalue()


def test_a_terminal_with_nothing_ended(study: StudyRecord) -> None:
    console, _ = terminal()
    with Display(console) as display:
        display.study_started(study, [])
        display.trial_runs("00000", "starts")
        console.print(display._render())
    console, out = plain()
    with Display(console) as display:
        display.study_started(study, [])
    assert out.getvalue() == ""


def test_an_error_leaves_the_terminal_as_it_was(study: StudyRecord) -> None:
    console, out = terminal()
    with pytest.raises(RuntimeError), Display(console) as display:
        display.study_started(study, [])
        raise RuntimeError
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")  # the cursor is shown again


def test_a_timer_that_goes_away_is_told_once(study: StudyRecord) -> None:
    console, out = plain()
    display = Display(console)
    display.study_started(study, [])
    reason = "timer device:8700: must answer, got: Connection refused; start it there with `whc bench --serve`"
    for trial_id, told in (("00000", reason), ("00001", reason), ("00000", ""), ("00001", "")):
        display.timer_lost(trial_id, told)
    assert out.getvalue().splitlines() == [f"the search waits: {reason}", "the timer is back: the search goes on"]


def test_a_live_view_names_the_trials_that_wait_for_a_timer(study: StudyRecord) -> None:
    console, _ = terminal()
    display = begun(console, study)
    display.timer_lost("00000", "timer device:8700: must answer")
    assert "00000 waits: timer device:8700: must answer" in " ".join(view(display))
    display.timer_lost("00000", "")
    assert "00000 is timed" in " ".join(view(display))


@pytest.mark.parametrize(("share", "said"), [(0.004, "add 0.4% to the hypervolume"), (0.02, "")])
def test_why_a_search_ends_early(share: float, said: str, study: StudyRecord) -> None:
    console, out = plain()
    with Display(console) as display:
        display.study_started(study.model_copy(update={"stop_below": 0.01}), [])
        display.expected(share)
        display.study_ended(study.study, Path())
    assert said in out.getvalue()
    assert bool(out.getvalue()) == bool(said)

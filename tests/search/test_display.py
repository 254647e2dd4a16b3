"""What a search shows, on a terminal and elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.cells import cell_len
from rich.console import Console

from whc.records import StudyRecord, TrialRecord
from whc.search.display import FRONT_ROWS, Display, front_table, summary
from whc.trials.config import TrialConfig

Record = Callable[..., TrialRecord]
COLUMNS = 100


def terminal(width: int = COLUMNS) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=width, legacy_windows=False), out


def plain(width: int = COLUMNS) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=False, width=width, highlight=False), out


@pytest.fixture
def ended(record: Record) -> list[TrialRecord]:
    """One of each state; of the finished ones, 1 is dominated by 0."""
    return [
        record("00000", "finished", latency_ms=0.2, val_f1=0.7),
        record("00001", "finished", latency_ms=0.3, val_f1=0.6),
        record("00002", "finished", latency_ms=0.4, val_f1=0.9),
        record("00003", "infeasible", latency_ms=2.0),
        record("00004", "failed", latency_ms=None),
        record("00005", "stopped", latency_ms=0.1, val_f1=0.99),
    ]


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({}, "baseline/avg rgb w32 d4 32px"),
        ({"backbone": {"inverted_se": {}}, "color": "luma", "width": 16}, "inverted_se/avg luma w16 d4 32px"),
        ({"sequence": {"frame_stack": {"frames": 6}}, "image_size": "48x30"}, "baseline/avg rgb w32 d4 48x30px x6"),
        ({"sequence": {"lstm": {"frames": 3}}, "color": "lab"}, "baseline/lstm lab w32 d4 32px x3"),
        ({"sequence": {"3dcnn": {"frames": 5}}, "width": 8}, "cnn3d rgb w8 32px x5"),
        ({"head": {"transformer": {"grid": "2x4"}}}, "baseline/transformer rgb w32 d4 32px"),
    ],
)
def test_summary(model: dict[str, object], told: str) -> None:
    assert summary(TrialConfig.model_validate({"model": model}).resolved()) == told


def test_front_table_holds_finished_trials_that_are_not_dominated(ended: list[TrialRecord]) -> None:
    console, out = plain()
    console.print(*front_table(ended))
    text = out.getvalue()
    assert [trial_id for trial_id in (f"0000{i}" for i in range(6)) if trial_id in text] == ["00000", "00002"]
    assert text.index("00000") < text.index("00002")  # fastest first
    assert "0.7000" in text
    assert "0.2000" in text
    assert "20" in text  # kilobytes


def test_front_table_without_finished_trials(ended: list[TrialRecord]) -> None:
    for none in ([], ended[3:]):
        assert front_table(none) == []


def test_a_long_front_shows_its_most_accurate_end(record: Record) -> None:
    many = [
        record(f"{i:05d}", "finished", latency_ms=0.1 + i / 100, val_f1=0.5 + i / 100) for i in range(FRONT_ROWS + 3)
    ]
    (table,) = front_table(many)
    assert table.row_count == FRONT_ROWS
    assert table.caption == "and 3 faster ones"
    console, out = plain()
    console.print(table)
    assert f"{FRONT_ROWS + 2:05d}" in out.getvalue()
    assert "00002 " not in out.getvalue()


def test_one_plain_line_a_trial_when_not_on_a_terminal(study: StudyRecord, ended: list[TrialRecord]) -> None:
    console, out = plain(40)
    with Display(study, console) as display:
        display.earlier(ended[:1])
        for record in ended[1:]:
            display.running(record.trial_id, "epoch 1 val_f1 0.500")
            display.ended(record)
    lines = out.getvalue().splitlines()
    assert len(lines) == len(ended) - 1
    network = "baseline/avg rgb w32 d4 32px"
    assert lines[0] == f"[2/4] 00001 finished: val_f1 0.6000, 0.3000 ms, {network}"
    assert lines[2] == f"[4/4] 00003 infeasible: it infeasible, 2.0000 ms, {network}"
    assert lines[3] == f"[5/4] 00004 failed: it failed, no latency, {network}"
    assert "\x1b" not in out.getvalue()


def test_brackets_in_a_reason_are_shown_as_they_are(study: StudyRecord, record: Record) -> None:
    console, out = plain()
    reason = "got [bold]8[/bold] and [/nonsense]"
    with Display(study, console) as display:
        display.ended(record("00000", "failed").model_copy(update={"reason": reason}))
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
    with Display(study.model_copy(update={"study": "a-study-of-hands-12", "trials": 200}), console) as display:
        for one in [*ended, record("00006", "finished", widest, latency_ms=0.9, val_f1=0.95)]:
            display.running(one.trial_id, "epoch 12 val_f1 0.512")
            display.ended(one)
        for trial_id in ("00007", "00008"):
            display.running(trial_id, "epoch 12 val_f1 0.512")
        shown, still = terminal()
        shown.print(display._render())
    lines = Console(file=io.StringIO(), width=COLUMNS).render_lines(display._render())
    assert all(sum(cell_len(part.text) for part in line) <= COLUMNS for line in lines)
    text = "\n".join("".join(part.text for part in line).rstrip() for line in lines)
    assert "a-study-of-hands-12" in text
    assert "7/200" in text
    assert "4 finished, 1 rejected before training, 1 failed, 2 running" in text
    assert "00007 epoch 12 val_f1 0.512; 00008 epoch 12 val_f1 0.512" in text
    assert "inverted_se/avgmax_mlp luma w128 d4 128x120px x16" in text  # on one line
    assert "\x1b" in out.getvalue()
    assert still.getvalue()


def test_a_terminal_with_nothing_ended(study: StudyRecord) -> None:
    console, _ = terminal()
    with Display(study, console) as display:
        display.running("00000", "starts")
        console.print(display._render())
    console, out = plain()
    with Display(study, console):
        pass
    assert out.getvalue() == ""


def test_an_error_leaves_the_terminal_as_it_was(study: StudyRecord) -> None:
    console, out = terminal()
    with pytest.raises(RuntimeError), Display(study, console):
        raise RuntimeError
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")  # the cursor is shown again

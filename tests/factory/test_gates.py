"""Which ladders may replace which: on tiny files whose latencies are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from whc.factory import measuring
from whc.factory.gates import Gates
from whc.factory.scoring import Model
from whc.records import Champion, LadderTable, LatencySession

Ladder = tuple[LadderTable, Path]
OLD_PEOPLE = [f"old {i}" for i in range(20)]
NEW_PEOPLE = [f"new {i}" for i in range(40)]


@pytest.fixture
def ask(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    load_file: Callable[..., Model],
    timed_as: Callable[..., Callable[..., LatencySession]],
    champions_of: Callable[[Ladder], list[Champion]],
) -> Callable[..., str]:
    """Asks the gates whether a ladder may replace another."""

    def run(new: Ladder, old: Ladder | None = None, champions: list[Champion] | None = None) -> str:
        ratios = {row.name: row.latency_ratio or 0.0 for table, _ in filter(None, (new, old)) for row in table.variants}
        monkeypatch.setattr(measuring, "session", timed_as(ratios))
        known = champions_of(old) if old and champions is None else champions or []
        return Gates(tmp_path / "runs", lambda runtime: load_file, lambda step: None)(*new, known)

    return run


def test_the_first_ladder_of_a_prefix_is_promoted(make_ladder: Callable[..., Ladder], ask: Callable[..., str]) -> None:
    assert ask(make_ladder("new", {"hand_m": (0.9, 1.0)}, NEW_PEOPLE)) == ""


def test_a_better_ladder_is_promoted(make_ladder: Callable[..., Ladder], ask: Callable[..., str]) -> None:
    old = make_ladder("old", {"hand_s": (0.8, 1.0), "hand_m": (0.7, 2.0)}, OLD_PEOPLE)
    new = make_ladder("new", {"hand_l": (0.5, 1.0)}, NEW_PEOPLE, seed=1)
    assert ask(new, old) == ""


def test_a_worse_ladder_is_refused_with_both_figures(
    make_ladder: Callable[..., Ladder], ask: Callable[..., str]
) -> None:
    old = make_ladder("old", {"hand_s": (0.5, 1.0)}, OLD_PEOPLE)
    new = make_ladder("new", {"hand_m": (0.8, 1.0), "hand_l": (0.7, 2.0)}, NEW_PEOPLE, seed=1)
    refusal = ask(new, old)
    assert refusal.startswith("not promoted, the former ladder stays: gate no loss: hand_s version 1 (F1 1.0000, ")
    assert "is better than the new hand_m (F1 0." in refusal
    assert refusal.endswith("whc factory promote --study new --force --reason TEXT promotes it all the same")


def test_a_ladder_that_lost_its_slow_end_is_refused(
    make_ladder: Callable[..., Ladder], ask: Callable[..., str]
) -> None:
    """The old one's best is slower than all of the new ladder, and there is nothing as good in its place."""
    old = make_ladder("old", {"hand_s": (0.8, 1.0), "hand_l": (0.5, 9.0)}, OLD_PEOPLE)
    new = make_ladder("new", {"hand_m": (0.7, 1.0)}, NEW_PEOPLE, seed=1)
    assert "hand_l version 1" in ask(new, old)


def test_a_better_variant_that_is_faster_loses_nothing(
    make_ladder: Callable[..., Ladder], ask: Callable[..., str]
) -> None:
    """The old one is faster than all new ones, but no better than they are."""
    old = make_ladder("old", {"hand_s": (0.8, 0.5)}, OLD_PEOPLE)
    new = make_ladder("new", {"hand_m": (0.5, 1.0)}, NEW_PEOPLE, seed=1)
    assert ask(new, old) == ""


def test_a_file_that_is_not_the_measured_one_fails_parity(
    make_ladder: Callable[..., Ladder], ask: Callable[..., str]
) -> None:
    table, folder = make_ladder("new", {"hand_m": (0.5, 1.0)}, NEW_PEOPLE)
    rows = [row.model_copy(update={"val_score": 0.5}) for row in table.variants]
    refusal = ask((table.model_copy(update={"variants": rows}), folder))
    assert "gate parity: hand_m gives F1 1.0000 on validation, its network gave F1 0.5000" in refusal


def test_people_whom_the_old_ladder_was_trained_on_are_left_out(
    make_ladder: Callable[..., Ladder], ask: Callable[..., str]
) -> None:
    """All of them: the old ladder's training people are the new one's validation people."""
    old = make_ladder("old", {"hand_s": (0.5, 1.0)}, NEW_PEOPLE[1:])
    new = make_ladder("new", {"hand_m": (0.8, 1.0)}, NEW_PEOPLE, seed=1)
    assert "not decidable" in ask(new, old)


def test_too_few_people_are_not_decidable(make_ladder: Callable[..., Ladder], ask: Callable[..., str]) -> None:
    old = make_ladder("old", {"hand_s": (0.5, 1.0)}, OLD_PEOPLE)
    new = make_ladder("new", {"hand_m": (0.8, 1.0)}, NEW_PEOPLE[:8], seed=1)
    assert "not decidable: 48 rows of 4 groups" in ask(new, old)


def test_an_old_file_that_is_gone_is_not_decidable(make_ladder: Callable[..., Ladder], ask: Callable[..., str]) -> None:
    new = make_ladder("new", {"hand_m": (0.5, 1.0)}, NEW_PEOPLE)
    gone = Champion(name="hand_s", version="3", study="old", path=None, fault="hand_s.onnx is gone")
    assert "not decidable: hand_s.onnx is gone" in ask(new, champions=[gone])


def test_an_old_study_that_is_gone_is_not_decidable(
    make_ladder: Callable[..., Ladder], ask: Callable[..., str], champions_of: Callable[[Ladder], list[Champion]]
) -> None:
    new = make_ladder("new", {"hand_m": (0.5, 1.0)}, NEW_PEOPLE)
    lost = [champion.model_copy(update={"study": "deleted"}) for champion in champions_of(new)]
    assert "not decidable: the data that deleted was trained on are not there" in ask(new, champions=lost)

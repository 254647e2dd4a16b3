"""A ladder is promoted as a whole or not at all, also while somebody else promotes another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

pytest.importorskip("mlflow.tracking")

from whc.records import Champion, LadderTable
from whc.registry.location import Location
from whc.registry.models import REASON_TAG, Registry

Ladder = Callable[..., tuple[LadderTable, Path]]


def studies(location: Location) -> dict[str, str]:
    """The study of each champion."""
    return {champion.name: champion.study for champion in Registry(location).champions("whc")}


def test_a_refused_ladder_is_registered_but_no_champion(location: Location, ladder: Ladder) -> None:
    Registry(location).ladder_built(*ladder("ml", "old"))
    asked: list[list[tuple[str, str]]] = []

    def gate(table: LadderTable, folder: Path, champions: Sequence[Champion]) -> str:
        assert (folder / table.variants[0].file).is_file()
        asked.append([(champion.name, champion.study) for champion in champions])
        return "not as good"

    lines = Registry(location, gate).ladder_built(*ladder("sml", "new", 2.0))
    assert lines == [
        "registered whc_s version 1",
        "registered whc_m version 2",
        "registered whc_l version 2",
        "not as good",
    ]
    assert asked == [[("whc_m", "old"), ("whc_l", "old")]]
    assert studies(location) == {"whc_m": "old", "whc_l": "old"}
    assert [model.tags["study"] for model in Registry(location).listed()] == ["old", "old"]


def test_a_forced_ladder_keeps_its_reason(location: Location, ladder: Ladder) -> None:
    Registry(location, reason="the old data were wrong").ladder_built(*ladder("m", "new"))
    described = Registry(location).described("whc_m")
    assert described.tags[REASON_TAG] == "the old data were wrong"
    assert described.aliases == ("champion",)


def test_a_ladder_that_is_promoted_already_is_not_asked_about(location: Location, ladder: Ladder) -> None:
    Registry(location).ladder_built(*ladder("ml", "old"))

    def gate(*_: object) -> str:
        raise AssertionError

    assert Registry(location, gate).promote(*ladder("ml", "old"))[1] == ""


def test_two_users_do_not_mix_their_ladders(location: Location, ladder: Ladder) -> None:
    """While the first user's gate is at work, the second promotes another ladder: the gate is asked again."""
    asked: list[set[str]] = []

    def gate(table: LadderTable, folder: Path, champions: Sequence[Champion]) -> str:
        del table, folder
        asked.append({champion.study for champion in champions})
        if len(asked) == 1:
            Registry(location).ladder_built(*ladder("pnsml", "second", 3.0))
        return ""

    Registry(location).ladder_built(*ladder("sml", "former"))
    Registry(location, gate).ladder_built(*ladder("ml", "first", 2.0))
    assert asked == [{"former"}, {"second"}]
    assert studies(location) == {"whc_m": "first", "whc_l": "first"}


def test_a_champion_whose_file_is_gone_says_so(location: Location, ladder: Ladder) -> None:
    Registry(location).ladder_built(*ladder("m", "old"))
    Registry(location).resolve("whc_m").unlink()
    (champion,) = Registry(location).champions("whc")
    assert champion.path is None
    assert "got nothing there" in champion.fault


def test_a_description_has_the_configuration(location: Location, ladder: Ladder) -> None:
    Registry(location).ladder_built(*ladder("ml", "old"))
    slow, fast = (Registry(location).described(name) for name in ("whc_l", "whc_m/1"))
    assert slow.config["model"] != fast.config["model"]
    assert [model.name for model in Registry(location).listed()] == ["whc_m", "whc_l"]

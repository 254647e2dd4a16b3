"""`whc report`: draws the page of a study, and opens it where a browser can."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whc.records import StudyRecord

SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


@pytest.fixture
def pages(home: Path, make_study: Callable[..., StudyRecord], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two studies without trials; the addresses that a browser is asked to open."""
    for name in ("eyes-1", "hands-1"):
        make_study(study=name, space={"model": {"width": [4, 8]}}).save(home / "runs" / name)
    for name in SCREENS:
        monkeypatch.delenv(name, raising=False)
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(opened.append(address)) or True)
    return opened


def test_where_no_browser_can_open_the_path_is_printed(pages: list[str], home: Path, whc_command: Any) -> None:
    told = whc_command("report", "hands-1")
    page = Path("runs", "hands-1", "report.html")
    assert (told.code, told.out, told.err) == (0, f"{page}\n", "")
    assert "hands-1" in (home / page).read_text(encoding="utf-8")
    assert pages == []


def test_a_browser_opens_the_page(
    pages: list[str], home: Path, result: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    page = Path("runs", "hands-1", "report.html")
    page.parent.joinpath("report.html").write_text("of old", encoding="utf-8")
    assert result("report", "hands-1") == {"page": str(page), "opened": True}
    assert pages == [(home / page).as_uri()]
    assert page.read_text(encoding="utf-8") != "of old"


def test_an_unknown_study_is_one_line(pages: list[str], whc_command: Any) -> None:
    told = whc_command("report", "hand-1")
    assert (told.code, told.out) == (1, "")
    assert told.err == "error: runs: no such study, got 'hand-1'; did you mean 'hands-1'?\n"


def test_a_page_that_cannot_be_written_is_one_line(pages: list[str], home: Path, whc_command: Any) -> None:
    (home / "runs" / "hands-1" / "report.html").mkdir()
    told = whc_command("report", "hands-1")
    assert (told.code, told.out) == (1, "")
    assert told.err.startswith(f"error: {Path('runs', 'hands-1', 'report.html')}: must be a path that can be used")
    assert len(told.err.splitlines()) == 1

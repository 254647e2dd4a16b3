"""How numbers of things, and texts of users, are said."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.words import duration, in_markdown, quantity


@pytest.mark.parametrize(("number", "said"), [(0, "0 variants"), (1, "1 variant"), (2, "2 variants")])
def test_one_is_singular(number: int, said: str) -> None:
    assert quantity(number, "variant") == said


@given(st.text())
def test_a_user_s_text_is_one_line_without_meaning_in_markdown(text: str) -> None:
    shown = in_markdown(text)
    assert not set(shown) & set("<>[]|`*\\\n\r")
    assert html.unescape(shown).split() == text.split()


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "5 s"), (33, "35 s"), (89, "90 s"), (95, "2 min"), (1006, "17 min"), (7800, "2 h 10 min"), (10700, "3 h")],
)
def test_an_estimate_is_told_no_closer_than_it_is_known(seconds: float, told: str) -> None:
    assert duration(seconds) == told

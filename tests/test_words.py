"""How numbers of things are said."""

from __future__ import annotations

import pytest

from whc.words import quantity


@pytest.mark.parametrize(("number", "said"), [(0, "0 variants"), (1, "1 variant"), (2, "2 variants")])
def test_one_is_singular(number: int, said: str) -> None:
    assert quantity(number, "variant") == said

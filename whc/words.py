"""Numbers with their nouns, for messages and tables."""

from __future__ import annotations


def quantity(number: int, noun: str) -> str:
    """A number of things: `1 variant`, `2 variants`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

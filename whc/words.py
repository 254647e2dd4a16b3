"""Numbers with their nouns, and text of users, for messages and tables."""

from __future__ import annotations


def quantity(number: int, noun: str) -> str:
    """A number of things: `1 variant`, `2 variants`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def in_markdown(text: str) -> str:
    """Text of a user on one line of Markdown, whatever is in it: characters that mean something become entities."""
    return " ".join(text.split()).translate({ord(character): f"&#{ord(character)};" for character in "&<>[]|`*\\"})

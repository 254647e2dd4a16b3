"""Numbers with their nouns, and text of users, for messages and tables."""

from __future__ import annotations

from datetime import datetime


def quantity(number: int, noun: str) -> str:
    """A number of things: `1 variant`, `2 variants`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def in_markdown(text: str) -> str:
    """Text of a user on one line of Markdown, whatever is in it: characters that mean something become entities."""
    return " ".join(text.split()).translate({ord(character): f"&#{ord(character)};" for character in "&<>[]|`*\\"})


def duration(seconds: float) -> str:
    """Seconds as people say an estimate: `40 s`, `17 min`, `2 h 10 min`."""
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(10 * round(minutes / 10), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def moment(time: datetime | None) -> str:
    """A time of a record for people, to the minute: `2026-03-01 17:05 UTC`; None is a time that it does not say."""
    return "an unknown time" if time is None else f"{time:%Y-%m-%d %H:%M} UTC"

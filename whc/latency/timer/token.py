"""The token that a timer and its clients share."""

from __future__ import annotations

import re
import secrets

MIN_LENGTH, MAX_LENGTH = 16, 256


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_hex(32)


def is_token(text: str) -> bool:
    """Whether a text can be a token: it is sent as it is, in a header."""
    return re.fullmatch(rf"[A-Za-z0-9_-]{{{MIN_LENGTH},{MAX_LENGTH}}}", text) is not None

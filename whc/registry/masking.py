"""Passwords in the address of a server, which no message shows."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus

_MASK = "***"
_SECRET_PARAMETERS = ("password", "sslpassword")
_MIN_LENGTH = 4  # shorter ones would also hide words of the message itself


def masked(uri: str) -> str:
    """An address without its password and parameters: `postgresql://user:***@host/name?***`."""
    scheme, separator, rest = uri.partition("://")
    login, at, place = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    shown_login = f"{user}:{_MASK}" if colon and not re.search("[/?&]", user) else _MASK * bool(at)
    # At `&` too: an `@` in a parameter would else show those after it.
    host, *parameters = re.split("[?&]", place, maxsplit=1)
    return f"{scheme}{separator}{shown_login}{at}{host}" + f"?{_MASK}" * bool(parameters)


def hidden(text: str, uri: str | None) -> str:
    """A text of a library in which neither an address nor its password can be read."""
    if uri is None:
        return text
    text = text.replace(uri, masked(uri))
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        text = text.replace(secret, _MASK)
    return text


def _secrets(uri: str) -> set[str]:
    """The passwords of an address, as written and as libraries decode or encode them."""
    rest = uri.partition("://")[2]
    login, at, place = rest.rpartition("@")
    user, colon, password = login.partition(":")
    passwords = {password if colon else user} if at else set()
    for query in (rest.partition("?")[2], place.partition("?")[2]):
        passwords |= {value for key, value in parse_qsl(query) if key.lower() in _SECRET_PARAMETERS}
    plain = {decode(password) for password in passwords for decode in (str, unquote, unquote_plus)}
    encoded = {quote(text, safe="") for text in plain} | {form(text) for text in plain for form in (quote, quote_plus)}
    encoded |= {repr(text)[1:-1] for text in plain}
    return {text for text in plain | encoded if len(text) >= _MIN_LENGTH}

"""No message, however it comes about, shows the password of a server's address."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("mlflow.tracking")

from mlflow.exceptions import MlflowException

from whc.errors import RegistryUnavailable, UsageError
from whc.registry.failures import as_registry_errors
from whc.registry.location import Location, read_location
from whc.registry.masking import hidden, masked

# No text of whc's or of a library's holds these letters in a row.
PASSWORDS = st.text("QXZ@:/?#&%=;'\" +", min_size=4, max_size=24).map(lambda text: f"Zq{text}qZ")
ADDRESSES = st.sampled_from(
    [
        "postgresql://user:{}@host:5432/name",
        "postgresql://user:{}@host/name?sslmode=require",
        "postgresql://host/name?user=user&password={}",
        "postgresql://host/name?user=a@b&password={}",
        "http://user:{}@host:5000",
        "https://{}@host/prefix",
        "mysql://user:{}@host/name",
        "postgresql:/user:{}@host/name",
    ]
)


def forms(password: str) -> set[str]:
    return {password, quote(password), quote(password, safe="")}


@given(ADDRESSES, PASSWORDS, st.booleans())
@settings(deadline=None)
def test_an_address_is_shown_without_its_password(address: str, password: str, is_quoted: bool) -> None:
    uri = address.format(quote(password, safe="") if is_quoted else password)
    if "://" not in uri:
        return
    told = f"could not reach {uri} as {password!r}, that is {quote(password, safe='')}"
    assert not [form for form in forms(password) if form in masked(uri)]
    if is_quoted:
        assert "Zq" not in masked(uri)
        assert "Zq" not in hidden(told, uri)


@given(ADDRESSES, PASSWORDS)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_error_shows_it(tmp_path: Path, address: str, password: str) -> None:
    file = tmp_path / "server.yaml"
    uri = address.format(quote(password, safe=""))
    for text in (f"tracking_uri: {uri}", f"tracking_uri:{uri}", f"tracking_uri: {uri}\ndatabase: x.db", f"- {uri}"):
        file.write_text(text)
        try:
            shown = repr(read_location(file))
        except UsageError as error:
            shown = str(error)
        assert "Zq" not in shown
    try:
        location = Location(tracking_uri=uri)
    except ValueError:
        return
    with pytest.raises(RegistryUnavailable) as caught, as_registry_errors(location):
        raise MlflowException(f"request to {uri} failed: {password}")
    assert "Zq" not in str(caught.value)
    assert "Zq" not in location.shown

"""The tracking-server configuration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("mlflow.tracking")

from mlflow.utils.file_utils import local_file_uri_to_path
from sqlalchemy import make_url

from whc.errors import RegistryError, UsageError
from whc.registry.location import SERVER_FILE, Location, ignored_variable, read_location

SHIPPED = Path(__file__).parents[2] / "mlflow" / "server.yaml"


def test_the_shipped_file_says_the_defaults() -> None:
    assert read_location(SHIPPED) == Location()


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_location() == Location()


def test_the_users_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow/server.yaml").write_text("port: 5050\ndatabase: elsewhere.db\n")
    location = read_location()
    assert location.port == 5050
    assert location.database == Path("elsewhere.db")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("host: 0.0.0.0", r"host: must be an address of this machine alone, got '0\.0\.0\.0'; use 127\.0\.0\.1"),
        ("host: example.org", r"host: must be an address of this machine alone"),
        ("prot: 5000", r"prot: unknown key; did you mean 'port'\?"),
        (
            "tracking_uri: sqlite:///x.db",
            r"tracking_uri: must begin with http://.*, got sqlite://\.\.\.; the sqlite file is",
        ),
        (
            "tracking_uri: ftp://host",
            r"must begin with http://, https://, postgresql://, got ftp://\.\.\.; write http://",
        ),
        ("tracking_uri: host:5000", r"must begin with .*, got no scheme; write http://HOST:PORT"),
        ("tracking_uri: [http://host]", r"tracking_uri: must be text, got something else"),
        ("tracking_uri: http://user:pass@", r"must be http://HOST:PORT, .*, got something else; correct it"),
        ("tracking_uri: http://host:port", r"must be http://HOST:PORT"),
        (
            "tracking_uri: http://host\ndatabase: x.db",
            r"must have either tracking_uri or database, got both; remove one",
        ),
        ("tracking_uri:http://host", r"must hold `tracking_uri: URI` in valid YAML, .*; leave a blank after the colon"),
        ("port: 70000", r"port: .*65535, got 70000"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "server.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_location(file)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_this_machine_has_several_names(host: str) -> None:
    assert Location(host=host).host == host


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20)


@given(st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3))
def test_mlflow_opens_what_is_meant_whatever_its_name(names: list[str]) -> None:
    location = Location(database=Path("/no", *names, "m.db"), artifacts=Path("/no", *names, "files"))
    assert make_url(location.mlflow_uri).database == str(location.database)
    # MLflow makes the folder of the path as it stands in the URI: it must be one that is there.
    assert "/" not in location.mlflow_uri.removeprefix("sqlite:///")
    assert local_file_uri_to_path(location.artifacts_uri) == str(location.artifacts)
    assert local_file_uri_to_path(location.run_uri("5eed")) == str(location.run_folder("5eed"))


def test_a_path_that_is_not_utf8_is_told() -> None:
    location = Location(database=Path("/no/\udcff/m.db"), artifacts=Path("/no/\udcff"))
    for name in ("mlflow_uri", "artifacts_uri"):
        with pytest.raises(RegistryError, match=r"folder: must be named in UTF-8, got '/no/.udcff.*'; rename it"):
            getattr(location, name)


def test_reading_it_does_not_import_mlflow() -> None:
    check = "import sys, whc.registry.location, whc.registry.ui; sys.exit('mlflow.tracking' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_the_environment_is_used_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("tracking_uri: environment\nport: 5050\n")
    monkeypatch.setattr("whc.registry.location.removed", {})
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_URI set, as `environment` asks, got nothing; set it"):
        read_location(file)
    monkeypatch.setattr("whc.registry.location.removed", {"MLFLOW_TRACKING_URI": "http://user:secret@host:5000/"})
    location = read_location(file)
    assert (location.mlflow_uri, location.port) == ("http://user:secret@host:5000", 5050)
    assert ignored_variable(location) == ""
    file.write_text("database: mine.db\n")
    assert ignored_variable(read_location(file)) == (
        "MLFLOW_TRACKING_URI is ignored: the registry is mine.db; use --tracking-uri environment for it"
    )
    asked = read_location(file, "environment")
    assert asked.model_dump() == location.model_copy(update={"port": 5000}).model_dump()
    assert read_location(file, "http://other:1").shown == "http://other:1"
    with pytest.raises(UsageError, match="--tracking-uri: tracking_uri: must begin with"):
        read_location(file, "other")


def test_the_compose_file_is_for_this_machine_and_has_no_default_password() -> None:
    services = yaml.safe_load((SHIPPED.parent / "compose.yaml").read_text())["services"]
    assert services.keys() == {"database", "artifacts"}
    for service in services.values():
        assert service["ports"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        passwords = [value for key, value in service["environment"].items() if "PASSWORD" in key]
        assert passwords
        assert all(value.startswith("${") and ":?" in value for value in passwords)


def test_the_script_refuses_to_start_without_a_password() -> None:
    script = SHIPPED.parent / "serve.sh"
    ran = subprocess.run([script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "WHC_DB_PASSWORD: must be set" in ran.stderr
    assert "127.0.0.1" in script.read_text()


def test_what_registers_later_repeats_the_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    asked = read_location(tracking_uri="http://ada:hunter22@10.0.0.1:5001")
    command = "`whc factory register --study hands --tracking-uri http://ada:***@10.0.0.1:5001`"
    assert asked.register_later("the ladder is not registered", "hands") == (
        f"the ladder is not registered: run {command} when it answers"
    )
    SERVER_FILE.parent.mkdir()
    SERVER_FILE.write_text("tracking_uri: http://10.0.0.1:5001\n")
    assert "`whc factory register --study hands`" in read_location().register_later("it", "hands")

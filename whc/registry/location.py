"""Where the registry is stored and where its UI listens; importing this does not import mlflow."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import Field, PrivateAttr, field_validator, model_validator

from whc.config import Settings, load_yaml, validate
from whc.errors import RegistryError, UsageError, problem
from whc.registry import removed, set_environment
from whc.registry.masking import masked

SERVER_FILE = Path("mlflow/server.yaml")
ENVIRONMENT = "environment"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
_HTTP_SCHEMES = ("http", "https")
_SCHEMES = (*_HTTP_SCHEMES, "postgresql")


class Location(Settings):
    """`mlflow/server.yaml`: the database or the shared server, the folder of model files, and the UI's address.

    `tracking_uri` is the address of an MLflow server (http, https) or of a PostgreSQL database; without it, the
    registry is the sqlite file `database`. An MLflow server keeps model files itself; otherwise they lie in
    `artifacts`. Relative paths start at the current directory.
    """

    tracking_uri: str | None = Field(None, repr=False)  # it may hold a password
    database: Path = Path("runs/mlflow.db")
    artifacts: Path = Path("runs/mlartifacts")
    host: str = "127.0.0.1"
    port: int = Field(5000, ge=1, le=65535)
    _option: str = PrivateAttr("")  # of the command line that chose this place

    @field_validator("tracking_uri", mode="before")
    @classmethod
    def _known_address(cls, uri: object) -> object:
        """Refuse what is not the address of a server; no message shows more of it than its scheme."""
        if uri is None:
            return None
        if not isinstance(uri, str):
            raise ValueError("must be text, got something else; write http://HOST:PORT")
        scheme, separator, rest = uri.partition("://")
        if not separator or scheme not in _SCHEMES:
            got = f"{scheme}://..." if separator and scheme.replace("+", "").isalnum() else "no scheme"
            advice = "the sqlite file is the key `database`" if scheme == "sqlite" else "write http://HOST:PORT"
            raise ValueError(f"must begin with {', '.join(f'{name}://' for name in _SCHEMES)}, got {got}; {advice}")
        try:
            has_host = bool(urlsplit(f"//{rest.rpartition('@')[2]}").hostname)
            _ = urlsplit(f"//{rest.rpartition('@')[2]}").port
        except ValueError:
            has_host = False
        if not has_host or not uri.isprintable() or " " in uri:
            form = "USER:PASSWORD@HOST:PORT/DATABASE" if scheme == "postgresql" else "HOST:PORT"
            rule = f"must be {scheme}://{form}, special characters of a password as %XX, got something else"
            raise ValueError(f"{rule}; correct it")
        return uri.rstrip("/")

    @field_validator("host")
    @classmethod
    def _only_this_machine(cls, host: str) -> str:
        """Refuse an address that others can reach: the UI has no log-in."""
        if not _is_loopback(host):
            raise ValueError(f"must be an address of this machine alone, got {host!r}; use 127.0.0.1")
        return host

    @model_validator(mode="after")
    def _one_place(self) -> Location:
        if self.tracking_uri and "database" in self.model_fields_set:
            raise ValueError("must have either tracking_uri or database, got both; remove one")
        return self

    @property
    def is_shared(self) -> bool:
        """Whether the registry is a server's, which other projects use too."""
        return self.tracking_uri is not None

    @property
    def is_http(self) -> bool:
        """Whether the registry is an MLflow server, which keeps the model files too."""
        return bool(self.tracking_uri) and urlsplit(str(self.tracking_uri)).scheme in _HTTP_SCHEMES

    @property
    def shown(self) -> str:
        """The database or server as messages name it, without a password."""
        return masked(self.tracking_uri) if self.tracking_uri else str(self.database)

    def register_later(self, what: str, study: str) -> str:
        """Advice for `what` could not be written, as the server did not answer."""
        return f"{what}: run `whc factory register --study {study}{self._option}` when it answers"

    def exists(self) -> bool:
        """Whether there is a registry to read; a server is taken to be there."""
        return self.is_shared or self.database.is_file()

    @property
    def mlflow_uri(self) -> str:
        """The server or database as MLflow names it.

        Raises:
            RegistryError: its path is not UTF-8, which MLflow cannot open.
        """
        if self.tracking_uri:
            return self.tracking_uri
        # Slashes are quoted too: MLflow creates the folders of this path before it unquotes it.
        return f"sqlite:///{quote(_utf8(self.database.resolve()), safe='')}"

    @property
    def artifacts_uri(self) -> str:
        """The folder of model files as MLflow names it.

        Raises:
            RegistryError: its path is not UTF-8, which MLflow cannot store.
        """
        return Path(_utf8(self.artifacts.resolve())).as_uri()

    def run_uri(self, run_id: str) -> str:
        """Where MLflow looks for the files of a run."""
        return f"{self.artifacts_uri}/{run_id}/artifacts"

    def run_folder(self, run_id: str) -> Path:
        """The folder that `run_uri` names."""
        return self.artifacts.resolve() / run_id / "artifacts"


def _utf8(path: Path) -> str:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise RegistryError(
            problem("the registry's folder", "must be named in UTF-8", str(path), "rename it")
        ) from error
    return str(path)


def _is_loopback(host: str) -> bool:
    try:
        return IPv4Address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_location(file: Path | None = None, tracking_uri: str | None = None) -> Location:
    """Read the tracking-server configuration.

    Args:
        file: the file to read; None reads `mlflow/server.yaml` where there is one, else takes the defaults.
        tracking_uri: used instead of the file's `tracking_uri` and `database`. In both places `environment` stands
            for the value of MLFLOW_TRACKING_URI.

    Raises:
        UsageError: the file has errors, `file` does not exist, or MLFLOW_TRACKING_URI is asked for and not set.
    """
    path = file or SERVER_FILE
    content = _content(path) if file or SERVER_FILE.is_file() else {}
    source = str(path)
    if tracking_uri is not None:
        content = {key: value for key, value in content.items() if key != "database"} | {"tracking_uri": tracking_uri}
        source = "--tracking-uri" if len(content) == 1 else f"--tracking-uri and {path}"
    if content.get("tracking_uri") == ENVIRONMENT:
        set_environment()
        content |= {"tracking_uri": removed.get(URI_VARIABLE)}
        if not content["tracking_uri"]:
            rule = f"must find {URI_VARIABLE} set, as `{ENVIRONMENT}` asks"
            raise UsageError(f"{source}: tracking_uri: {rule}, got nothing; set it, or give a URI")
    location = validate(Location, content, source)
    if tracking_uri is not None:
        location._option = f" --tracking-uri {ENVIRONMENT if tracking_uri == ENVIRONMENT else location.shown}"
    return location


def ignored_variable(location: Location) -> str:
    """A line that says that MLFLOW_TRACKING_URI has no effect; empty where it is not set, or is what is used."""
    set_environment()
    uri = removed.get(URI_VARIABLE)
    if not uri or uri.rstrip("/") == location.tracking_uri:
        return ""
    return f"{URI_VARIABLE} is ignored: the registry is {location.shown}; use --tracking-uri {ENVIRONMENT} for it"


def _content(path: Path) -> dict[str, Any]:
    try:
        return load_yaml(path)
    except UsageError as error:
        if "://" not in str(error) and "must hold a mapping" not in str(error):
            raise
    # Not the text that could not be read: it may hold a password.
    rule = "must hold `tracking_uri: URI` in valid YAML, got something else"
    raise UsageError(f"{path}: {rule}; leave a blank after the colon, and quote the URI")

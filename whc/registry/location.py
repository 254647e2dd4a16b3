"""Where the registry is stored and where its UI listens; importing this does not import mlflow."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from urllib.parse import quote

from pydantic import Field, field_validator

from whc.config import Settings, load_yaml, validate
from whc.errors import RegistryError, problem

SERVER_FILE = Path("mlflow/server.yaml")


class Location(Settings):
    """`mlflow/server.yaml`: the database, the folder of model files, and the UI's address.

    Relative paths start at the current directory.
    """

    database: Path = Path("runs/mlflow.db")
    artifacts: Path = Path("runs/mlartifacts")
    host: str = "127.0.0.1"
    port: int = Field(5000, ge=1, le=65535)

    @field_validator("host")
    @classmethod
    def _only_this_machine(cls, host: str) -> str:
        """Refuse an address that others can reach: the UI has no log-in."""
        if not _is_loopback(host):
            raise ValueError(f"must be an address of this machine alone, got {host!r}; use 127.0.0.1")
        return host

    @property
    def tracking_uri(self) -> str:
        """The database as MLflow names it.

        Raises:
            RegistryError: its path is not UTF-8, which MLflow cannot open.
        """
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


def read_location(file: Path | None = None) -> Location:
    """Read the tracking-server configuration.

    Args:
        file: the file to read; None reads `mlflow/server.yaml` where there is one, else takes the defaults.

    Raises:
        UsageError: the file has errors, or `file` does not exist.
    """
    if file is None and not SERVER_FILE.is_file():
        return Location()
    path = file or SERVER_FILE
    return validate(Location, load_yaml(path), str(path))

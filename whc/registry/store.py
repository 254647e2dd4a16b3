"""Opens the MLflow database, and the few things studies and models both do with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from whc.errors import RegistryError
from whc.registry.location import Location

KIND_TAG = "whc.kind"
PARENT_TAG = "mlflow.parentRunId"
_SQLITE_MAGIC = b"SQLite format 3\0"
_LONGEST_PARAM = 6000


@contextmanager
def told_in_one_line(location: Location) -> Iterator[None]:
    """Turns what MLflow and its database raise into a RegistryError.

    Raises:
        RegistryError: the database is locked, damaged, of another MLflow version, or its folder not writable.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RegistryError(
            f"{location.database}: must be a usable registry, got: {reason}; close what else uses it, or move it away"
        ) from error


def connect(location: Location) -> MlflowClient:
    """Open the database, created with its folder when it does not exist.

    Raises:
        RegistryError: it cannot be opened.
    """
    with told_in_one_line(location):
        location.database.parent.mkdir(parents=True, exist_ok=True)
        # MLflow would try a damaged file ten times, waiting longer each time.
        if location.database.exists() and location.database.stat().st_size:
            with location.database.open("rb") as file:
                if file.read(len(_SQLITE_MAGIC)) != _SQLITE_MAGIC:
                    raise RegistryError(
                        f"{location.database}: must be a sqlite database, got another file; move it away"
                    )
        return MlflowClient(location.tracking_uri, location.tracking_uri)


def experiment_id(client: MlflowClient, study: str, location: Location) -> str:
    """The study's experiment, created when there is none and taken back when it was deleted in the UI."""
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        created: str = client.create_experiment(study, artifact_location=str(location.artifacts.resolve()))
        return created
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    found: str = experiment.experiment_id
    return found


def study_run_id(client: MlflowClient, experiment: str) -> str | None:
    """The parent run of a study's trials and variants, None when the search was not logged."""
    runs = client.search_runs([experiment], f"tags.`{KIND_TAG}` = 'study'", max_results=1)
    return runs[0].info.run_id if runs else None


def run_tags(kind: str, tags: Mapping[str, str], parent: str | None) -> dict[str, str]:
    """Tags of a run of this kind (study, trial or variant), nested under `parent` in the UI."""
    nested = {PARENT_TAG: parent} if parent else {}
    return {KIND_TAG: kind, **tags, **nested}


def log(
    client: MlflowClient,
    run_id: str,
    metrics: list[Metric],
    config: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write metrics, tags and a nested configuration into a run, one call per hundred parameters, MLflow's limit."""
    params = [Param(key, value[:_LONGEST_PARAM]) for key, value in _flat(config)]
    client.log_batch(run_id, metrics, params[:100], [RunTag(key, value) for key, value in (tags or {}).items()])
    for start in range(100, len(params), 100):
        client.log_batch(run_id, params=params[start : start + 100])


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and their values as text; lists stay whole."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

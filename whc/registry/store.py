"""The MLflow database: opening it, and what studies and models both do with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from whc.records import StudyRecord
from whc.registry import server, set_environment
from whc.registry.database import KIND_TAG, prepare, update_paths
from whc.registry.failures import as_registry_errors
from whc.registry.files import PAGE_FILE
from whc.registry.location import Location

PARENT_TAG = "mlflow.parentRunId"
IDENTITY_TAG = "whc.study"
NOTE_TAG = "mlflow.note.content"
MAX_NOTE_LENGTH = 8000  # of any tag
_MAX_PARAM_LENGTH = 6000
_ATTACHED = (PAGE_FILE, "table.json", "table.csv", "table.md", "front.png", "front.svg")


def connect(location: Location) -> MlflowClient:
    """Open the registry; a database is created, with its folder, when it does not exist.

    Raises:
        RegistryError: it cannot be opened.
    """
    set_environment(has_login=location.is_http)
    with as_registry_errors(location):
        if location.is_shared:
            server.check(location)
        else:
            prepare(location)
        return MlflowClient(location.mlflow_uri, location.mlflow_uri)


def connect_to_write(location: Location) -> MlflowClient:
    """Open the registry; correct the paths of a project's own, so that new files go below this project.

    Raises:
        RegistryError: it cannot be opened or written.
    """
    client = connect(location)
    if not location.is_shared:
        with as_registry_errors(location):
            update_paths(location)
    return client


def experiment_id(client: MlflowClient, study: str, location: Location) -> str:
    """Id of the study's experiment, which is created when missing and restored when it was deleted in the UI."""
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        place = None if location.is_http else location.artifacts_uri  # an MLflow server has a place of its own
        try:
            new_id: str = client.create_experiment(study, place, {KIND_TAG: "study"})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return experiment_id(client, study, location)  # another process was faster
        return new_id
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    existing_id: str = experiment.experiment_id
    return existing_id


def runs(client: MlflowClient, experiment: str, kind: str) -> Iterator[Run]:
    """The study's runs of a kind (study, trial or variant)."""
    token = None
    while True:
        page = client.search_runs([experiment], f"tags.`{KIND_TAG}` = '{kind}'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def study_id(folder: Path) -> str | None:
    """What tells a study from others of its name, which a shared registry may hold; None without a study.yaml."""
    return StudyRecord.load(folder).identity if (folder / "study.yaml").is_file() else None


def study_run(client: MlflowClient, experiment: str, identity: str | None) -> Run | None:
    """The parent run of a study's trials and variants; None when the search was not logged."""
    for run in runs(client, experiment, "study"):
        if identity is None or run.data.tags.get(IDENTITY_TAG, identity) == identity:  # older runs have none
            return run
    return None


def study_run_id(client: MlflowClient, experiment: str, identity: str | None) -> str | None:
    """Id of the run that `study_run` gives."""
    run = study_run(client, experiment, identity)
    return run.info.run_id if run else None


def close_interrupted_runs(client: MlflowClient, experiment: str, parent: str | None) -> None:
    """Close the runs of a search or registration that was killed; resuming it opens them again."""
    own = [run for run in runs(client, experiment, "study") if run.info.run_id == parent]
    own += [run for run in runs(client, experiment, "variant") if run.data.tags.get(PARENT_TAG) == parent]
    for run in own:
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")


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
    """Write metrics, tags and a nested configuration into a run; MLflow accepts at most 100 parameters in a call."""
    params = [Param(key, value[:_MAX_PARAM_LENGTH]) for key, value in _flat(config)]
    client.log_batch(run_id, metrics, params[:100], [RunTag(key, value) for key, value in (tags or {}).items()])
    for start in range(100, len(params), 100):
        client.log_batch(run_id, params=params[start : start + 100])


def attach(client: MlflowClient, run_id: str, folder: Path) -> None:
    """Attach the page, tables and figures of a study's folder to its run."""
    for name in _ATTACHED:
        if (folder / name).is_file():
            client.log_artifact(run_id, str(folder / name))


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and their values as text; lists stay whole."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

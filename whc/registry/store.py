"""Opens the MLflow database, and the few things studies and models both do with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from whc.registry import settle_environment
from whc.registry.database import KIND_TAG, adopt, prepare, told_in_one_line
from whc.registry.location import Location

PARENT_TAG = "mlflow.parentRunId"
_LONGEST_PARAM = 6000


def connect(location: Location) -> MlflowClient:
    """Open the database, made with its folder when it does not exist.

    Raises:
        RegistryError: it cannot be opened.
    """
    settle_environment()
    with told_in_one_line(location):
        prepare(location)
        return MlflowClient(location.tracking_uri, location.tracking_uri)


def connect_to_write(location: Location) -> MlflowClient:
    """Open the database and let it name the project at hand, so that new files go below it.

    Raises:
        RegistryError: it cannot be opened or written.
    """
    client = connect(location)
    with told_in_one_line(location):
        adopt(location)
    return client


def experiment_id(client: MlflowClient, study: str, location: Location) -> str:
    """The study's experiment, created when there is none and taken back when it was deleted in the UI."""
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        created: str = client.create_experiment(study, location.artifacts_uri, {KIND_TAG: "study"})
        return created
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    found: str = experiment.experiment_id
    return found


def runs(client: MlflowClient, experiment: str, kind: str) -> Iterator[Run]:
    """The study's runs of a kind (study, trial or variant)."""
    token = None
    while True:
        page = client.search_runs([experiment], f"tags.`{KIND_TAG}` = '{kind}'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def study_run_id(client: MlflowClient, experiment: str) -> str | None:
    """The parent run of a study's trials and variants, None when the search was not logged."""
    run = next(runs(client, experiment, "study"), None)
    return run.info.run_id if run else None


def end_cut_off(client: MlflowClient, experiment: str) -> None:
    """Close the runs that an earlier search or registration of the study was killed in; whoever goes on opens them."""
    for kind in ("study", "variant"):
        for run in list(runs(client, experiment, kind)):
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

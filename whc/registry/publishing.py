"""A ladder's variants as versions of registered models: their files, numbers, tags and cards."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from whc.errors import RegistryError, problem
from whc.records import LadderTable, VariantRow, sha256, write_atomic
from whc.records import Metric as ScoreMetric
from whc.registry import packaging, store
from whc.registry.card import model_card
from whc.registry.files import CARD_FILE, PAGE_FILE, ROW_FILE, ModelFiles, hash_tag


@dataclass(frozen=True)
class Entry:
    """A variant that is ready to be registered: everything about it was checked; its study may have no page."""

    row: VariantRow
    metric: ScoreMetric
    model: Path
    page: Path
    artifacts: tuple[Path, ...]
    card: str
    tags: dict[str, str]

    def fill(self, folder: Path) -> None:
        """Write the variant's files into a folder, each by renaming: they may be in use."""
        write_atomic(folder / CARD_FILE, self.card)
        write_atomic(folder / ROW_FILE, self.row.model_dump_json(indent=1) + "\n")
        files = {self.model: f"{self.row.name}{self.model.suffix}", self.page: PAGE_FILE}
        files |= {path: path.name for path in self.artifacts}
        for path, name in files.items():
            if path.is_file():
                temporary = folder / f".{name}.tmp"
                shutil.copyfile(path, temporary)
                temporary.replace(folder / name)
        packaging.write(self.model, folder)

    def is_same(self, tags: Mapping[str, str]) -> bool:
        """Whether these are the tags of the same file of the same study."""
        return all(tags.get(key) == self.tags[key] for key in (hash_tag(self.model), "study"))


def entry(row: VariantRow, table: LadderTable, folder: Path) -> Entry:
    """A variant of a table, checked.

    Raises:
        RegistryError: its file is missing.
        ArtifactError: its file is not one of whc's models.
    """
    model, metric = folder / row.file, table.metric
    artifacts = tuple(folder / tried.file for tried in row.artifacts if tried.file)
    for path in (model, *artifacts):
        if not path.is_file():
            next_step = f"build the table again with `whc factory build-table --study {table.study}`"
            raise RegistryError(problem(row.name, "each of its files must exist", str(path), next_step))
    tags = {
        metric.key: metric.number(row.score),
        f"val_{metric.key}": metric.number(row.val_score),
        "latency_ms": f"{row.latency_ms:.4g}",
        "latency_ratio": row.ratio_shown,
        "size_bytes": str(row.size_bytes),
        "params": str(row.params),
        "runtime": row.runtime,
        "task": table.task,
        "labels": labels_tag(table),
        "study": table.study,
        "trial": row.trial_id,
        "data_fingerprint": table.data_fingerprint,
        "code_version": table.code_version,
        hash_tag(model): sha256(model),
    }
    return Entry(row, metric, model, folder / PAGE_FILE, artifacts, model_card(row, table, model), tags)


def labels_tag(table: LadderTable) -> str:
    """The labels as a tag."""
    return json.dumps(table.labels, ensure_ascii=False)


def publish(
    client: MlflowClient, files: ModelFiles, entries: Sequence[Entry], experiment: str, parent: str | None
) -> list[ModelVersion]:
    """Write each variant into the version of the same file and study, or else into a new version.

    A version is made last, with all its tags, when its files and numbers are in place: none is ever incomplete.

    Args:
        client: the registry.
        files: where its files lie.
        entries: the variants.
        experiment: id of the study's experiment.
        parent: id of the study's run, if the search was logged.
    """
    return [_publish(client, files, one, experiment, parent) for one in entries]


def _publish(client: MlflowClient, files: ModelFiles, one: Entry, experiment: str, parent: str | None) -> ModelVersion:
    name = one.row.name
    existing = _version_of(client, files, one)
    run = client.get_run(existing.run_id) if existing else _run_of(client, files, one, experiment, parent)
    source = files.write(run, one.fill, existing)
    client.set_terminated(run.info.run_id)
    _create_model(client, name)
    if existing is None:
        return client.create_model_version(name, source, run.info.run_id, tags=one.tags, description=one.card)
    for key, value in one.tags.items():
        client.set_model_version_tag(name, existing.version, key, value)
    client.update_model_version(name, existing.version, one.card)
    return existing


def _version_of(client: MlflowClient, files: ModelFiles, one: Entry) -> ModelVersion | None:
    """The version of the same file and study that has its files here; the newest, if several."""
    versions = [
        version
        for version in client.search_model_versions(f"name = '{one.row.name}'")
        if one.is_same(version.tags) and version.run_id and files.has(client.get_run(version.run_id))
    ]
    return max(versions, key=lambda version: int(version.version), default=None)


def _run_of(client: MlflowClient, files: ModelFiles, one: Entry, experiment: str, parent: str | None) -> Run:
    """The run that holds a variant's files and numbers; an interrupted registration may have begun it.

    Its status is written last: a run still RUNNING is completed.
    """
    for run in store.runs(client, experiment, "variant"):
        if run.info.run_name == one.row.name and one.is_same(run.data.tags) and files.has(run):
            break
    else:
        tags = store.run_tags("variant", one.tags, parent)
        run = client.create_run(experiment, tags=tags, run_name=one.row.name)
    if run.info.status == "RUNNING":
        _log_numbers(client, run.info.run_id, one)
    return run


def _log_numbers(client: MlflowClient, run_id: str, one: Entry) -> None:
    now_ms, row, metric = int(time.time() * 1000), one.row, one.metric
    keys = {"latency_ms", "latency_low_ms", "latency_high_ms", "latency_ratio", "size_bytes", "params"}
    values = row.model_dump(include=keys, exclude_none=True)  # MLflow has no metric without a value
    scores = {metric.key: row.score, f"val_{metric.key}": row.val_score}
    values |= {key: metric.value(score) for key, score in scores.items() if score is not None}
    store.log(client, run_id, [Metric(key, value, now_ms, 0) for key, value in values.items()], row.config)


def _create_model(client: MlflowClient, name: str) -> None:
    """Create the registered model if it is new."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise

"""Variants as registered models: registered from a ladder's table, and looked up by name."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path

from whc.errors import RegistryError, problem
from whc.records import Champion, Gate, LadderTable, VariantRow, sha256, write_atomic
from whc.records import Metric as ScoreMetric
from whc.registry import packaging, store
from whc.registry.card import model_card
from whc.registry.database import as_registry_errors, locked
from whc.registry.location import Location

CHAMPION_ALIAS = "champion"
REASON_TAG = "promoted_because"
_NAME_PATTERN = re.compile(r"(?P<model>[^@/]+)(@(?P<alias>[^@/]+)|/(?P<version>\d+))?")
_LETTER_PATTERN = re.compile(r"[pntscml]")
_LIST_PAGE_TAGS = ("latency_ms", "size_bytes")  # beside the score


@dataclass(frozen=True)
class _Entry:
    """A variant that is ready to be registered: everything about it was checked."""

    row: VariantRow
    metric: ScoreMetric
    onnx: Path
    card: str
    tags: dict[str, str]


def _open_gate(table: LadderTable, folder: Path, champions: Sequence[Champion]) -> str:
    del table, folder, champions
    return ""


@dataclass(frozen=True)
class Registered:
    """A registered version with its aliases and tags; `config` is its configuration, empty if its files are gone."""

    name: str
    version: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    config: dict[str, Any]


class Registry:
    """The registered models; a `records.LadderObserver`."""

    def __init__(self, location: Location, gate: Gate = _open_gate, reason: str = "") -> None:
        """`gate` is asked before a ladder is promoted; `reason` is kept with it if there was no gate to pass."""
        self._location, self._gate, self._reason = location, gate, reason

    def ladder_built(self, table: LadderTable, folder: Path) -> list[str]:
        """Register every variant, and promote the ladder if the gate lets it; a line to print for each.

        The last line is the gate's refusal, if there is one. Otherwise as `promote`.
        """
        lines, refusal = self.promote(table, folder)
        return [*lines, refusal] if refusal else lines

    def promote(self, table: LadderTable, folder: Path) -> tuple[list[str], str]:
        """Register every variant and make it champion; a name that the ladder no longer has loses that alias.

        Nothing is registered unless the whole ladder can be. The same file of the same study keeps its version. A
        ladder is promoted as a whole or, if the gate refuses, not at all.

        Args:
            table: the ladder.
            folder: the study's folder, which the table's paths start at.

        Returns:
            A line to print for each variant, then one for each name that lost its alias; and why it was not promoted,
            empty if it was.

        Raises:
            RegistryError: a champion predicts something else, a file is missing, or the database cannot be used.
            ArtifactError: a file is not one of whc's models.
        """
        with as_registry_errors(self._location):
            client = store.connect_to_write(self._location)
            with locked(self._location):
                versions = self._register(client, table, folder)
            while True:
                # The gate takes minutes, and others may promote meanwhile: then it is asked again.
                champions = self._champions(client, table.prefix)
                refusal = "" if _are_champions(versions, champions) else self._gate(table, folder, champions)
                with locked(self._location):
                    if self._champions(client, table.prefix) == champions:
                        return self._decide(client, table, versions, refusal), refusal

    def champions(self, prefix: str) -> list[Champion]:
        """The champions among `<prefix>_<letter>`, fastest first; none where there is no registry."""
        if not self._location.database.is_file():
            return []
        with as_registry_errors(self._location):
            return self._champions(store.connect(self._location), prefix)

    def listed(self) -> list[Registered]:
        """Every champion, ladder by ladder, fastest first; none where there is no registry."""
        if not self._location.database.is_file():
            return []
        with as_registry_errors(self._location):
            client = store.connect(self._location)
            named = [model for model in _models(client) if CHAMPION_ALIAS in model.aliases]
            versions = [client.get_model_version_by_alias(model.name, CHAMPION_ALIAS) for model in named]
            versions.sort(key=lambda version: (version.name.rpartition("_")[0], _latency_ms(version)))
            return [self._described(version) for version in versions]

    def described(self, name: str) -> Registered:
        """The version that a name means, as for `resolve`.

        Raises:
            RegistryError: there is no such model, alias or version.
        """
        with as_registry_errors(self._location):
            return self._described(_find(store.connect(self._location), name))

    def _described(self, version: ModelVersion) -> Registered:
        champion = self._champion(version)
        row = champion.path.with_name("row.json") if champion.path else None
        config = json.loads(row.read_text(encoding="utf-8"))["config"] if row and row.is_file() else {}
        return Registered(version.name, str(version.version), tuple(version.aliases), dict(version.tags), config)

    def _champions(self, client: MlflowClient, prefix: str) -> list[Champion]:
        versions = sorted(_champions(client, prefix).values(), key=_latency_ms)
        return [self._champion(version) for version in versions]

    def _champion(self, version: ModelVersion) -> Champion:
        study = version.tags.get("study", "")
        fields = {"name": version.name, "version": str(version.version), "study": study}
        try:
            return Champion(path=self._verified_file(version), **fields)
        except RegistryError as error:
            return Champion(path=None, fault=str(error), **fields)

    def resolve(self, name: str) -> Path:
        """The ONNX file of a registered model, in place.

        Args:
            name: `whc_m` or `whc_m@champion` (the champion), `whc_m@alias`, or `whc_m/3` (a version).

        Raises:
            RegistryError: there is no such model, alias or version, or its file is gone or was changed.
        """
        # A request for a model must not create an empty database.
        if not self._location.database.is_file():
            raise RegistryError(
                f"{name}: must be a registered model, but there is no registry at {self._location.database}; "
                "run `whc factory build-table`, or give a path to an .onnx file"
            )
        with as_registry_errors(self._location):
            version = _find(store.connect(self._location), name)
            return self._verified_file(version)

    def _register(self, client: MlflowClient, table: LadderTable, folder: Path) -> list[ModelVersion]:
        for champion in _champions(client, table.prefix).values():
            _refuse_foreign(champion, table)
        entries = [_entry(row, table, folder) for row in table.variants]
        experiment = store.experiment_id(client, table.study, self._location)
        versions = [self._publish(client, entry, experiment) for entry in entries]
        _describe_study(client, store.study_run_id(client, experiment), table, folder)
        store.close_interrupted_runs(client, experiment)
        return versions

    def _decide(
        self, client: MlflowClient, table: LadderTable, versions: Sequence[ModelVersion], refusal: str
    ) -> list[str]:
        """Promote a ladder unless it was refused."""
        registered = [f"registered {version.name} version {version.version}" for version in versions]
        if refusal:
            return registered
        former = _champions(client, table.prefix).keys()
        # All aliases move at the end, together: an interrupted registration leaves the old ladder as it was.
        for version in versions:
            client.set_registered_model_alias(version.name, CHAMPION_ALIAS, version.version)
        for version in versions:
            _show_numbers(client, version, table.metric)
            if self._reason:
                client.set_model_version_tag(version.name, version.version, REASON_TAG, self._reason)
        without_variant = sorted(former - {version.name for version in versions})
        lines = [f"{line}, alias {CHAMPION_ALIAS}" for line in registered]
        return lines + [_demote(client, name, table) for name in without_variant]

    def _publish(self, client: MlflowClient, entry: _Entry, experiment: str) -> ModelVersion:
        """Write files, numbers and card into the version of the same file and study, or else into a new version."""
        name, tags = entry.row.name, entry.tags
        existing = self._version_of(client, entry)
        run_id = existing.run_id if existing else self._run_of(client, entry, experiment)
        _write_files(entry, self._location.run_folder(run_id))
        client.set_terminated(run_id)
        _create_model(client, name)
        if existing is None:
            return client.create_model_version(
                name, self._location.run_uri(run_id), run_id, tags=tags, description=entry.card
            )
        for key, value in tags.items():
            client.set_model_version_tag(name, existing.version, key, value)
        client.update_model_version(name, existing.version, entry.card)
        return existing

    def _version_of(self, client: MlflowClient, entry: _Entry) -> ModelVersion | None:
        """The version of the same file and study in this project: the champion, else the newest."""
        versions = [
            version
            for version in client.search_model_versions(f"name = '{entry.row.name}'")
            if _is_same(version.tags, entry) and version.source == self._location.run_uri(version.run_id)
        ]
        return max(
            versions, key=lambda version: (CHAMPION_ALIAS in version.aliases, int(version.version)), default=None
        )

    def _run_of(self, client: MlflowClient, entry: _Entry, experiment: str) -> str:
        """The run that holds a variant's files and numbers; an interrupted registration may have begun it.

        Its status is written last: a run still RUNNING is completed.
        """
        for run in store.runs(client, experiment, "variant"):
            if run.info.run_name == entry.row.name and _is_same(run.data.tags, entry):
                run_id: str = run.info.run_id
                if run.info.artifact_uri == self._location.run_uri(run_id):
                    break
        else:
            parent = store.study_run_id(client, experiment)
            tags = store.run_tags("variant", entry.tags, parent)
            run = client.create_run(experiment, tags=tags, run_name=entry.row.name)
            run_id = run.info.run_id
        if run.info.status == "RUNNING":
            _log_numbers(client, run_id, entry)
        return run_id

    def _verified_file(self, version: ModelVersion) -> Path:
        """The version's file, checked against its registered hash."""
        file_name, advice = f"{version.name}.onnx", "register the ladder again with `whc factory build-table`"
        # This project's own file comes first: in a copied project, MLflow's absolute paths lead to the original one.
        stored = Path(local_file_uri_to_path(version.source))
        for folder in (self._location.run_folder(str(version.run_id)), stored):
            path = folder / file_name
            if path.is_file():
                if sha256(path) != version.tags.get("onnx_sha256"):
                    raise RegistryError(f"{path}: must be the file that was registered, got other bytes; {advice}")
                return path
        missing = self._location.run_folder(str(version.run_id)) / file_name
        raise RegistryError(f"{version.name}/{version.version}: must be at {missing}, got nothing there; {advice}")


def _champions(client: MlflowClient, prefix: str) -> dict[str, ModelVersion]:
    """The champions among `<prefix>_<letter>`, by name."""
    return {
        model.name: client.get_model_version_by_alias(model.name, CHAMPION_ALIAS)
        for model in _models(client)
        if CHAMPION_ALIAS in model.aliases
        and model.name.startswith(f"{prefix}_")
        and _LETTER_PATTERN.fullmatch(model.name.removeprefix(f"{prefix}_"))
    }


def _models(client: MlflowClient) -> list[RegisteredModel]:
    models: list[RegisteredModel] = []
    token = None
    while True:
        page = client.search_registered_models(page_token=token)
        models += page
        token = page.token
        if not token:
            return models


def _refuse_foreign(champion: ModelVersion, table: LadderTable) -> None:
    """Refuse a ladder that would change what the name `whc_m` predicts."""
    ours = {"task": table.task, "labels": _labels_tag(table)}
    for key, value in ours.items():
        theirs = champion.tags.get(key, "unknown")
        if theirs != value:
            raise RegistryError(
                f"{champion.name}: {key} must stay its champion's {theirs}, got {value}; "
                "nothing was registered; choose another prefix with `whc factory build-table --prefix NAME`"
            )


def _entry(row: VariantRow, table: LadderTable, folder: Path) -> _Entry:
    onnx, metric = folder / row.onnx, table.metric
    if not onnx.is_file():
        again = f"build the table again with `whc factory build-table --study {table.study}`"
        raise RegistryError(problem(row.name, "its ONNX file must exist", str(onnx), again))
    tags = {
        metric.key: metric.number(row.score),
        f"val_{metric.key}": metric.number(row.val_score),
        "latency_ms": f"{row.latency_ms:.4g}",
        "latency_ratio": row.ratio_shown,
        "size_bytes": str(row.size_bytes),
        "params": str(row.params),
        "runtime": row.runtime,
        "task": table.task,
        "labels": _labels_tag(table),
        "study": table.study,
        "trial": row.trial_id,
        "data_fingerprint": table.data_fingerprint,
        "code_version": table.code_version,
        "onnx_sha256": sha256(onnx),
    }
    return _Entry(row, metric, onnx, model_card(row, table, onnx), tags)


def _labels_tag(table: LadderTable) -> str:
    return json.dumps(table.labels, ensure_ascii=False)


def _write_files(entry: _Entry, folder: Path) -> None:
    """Write a variant's files where MLflow looks for them, each by renaming: they may be in use."""
    write_atomic(folder / "README.md", entry.card)
    write_atomic(folder / "row.json", entry.row.model_dump_json(indent=1) + "\n")
    temporary = folder / f".{entry.row.name}.onnx.tmp"
    shutil.copyfile(entry.onnx, temporary)
    temporary.replace(folder / f"{entry.row.name}.onnx")
    packaging.write(entry.onnx, folder)


def _is_same(tags: Mapping[str, str], entry: _Entry) -> bool:
    return all(tags.get(key) == entry.tags[key] for key in ("onnx_sha256", "study"))


def _log_numbers(client: MlflowClient, run_id: str, entry: _Entry) -> None:
    now_ms, row, metric = int(time.time() * 1000), entry.row, entry.metric
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


def _show_numbers(client: MlflowClient, version: ModelVersion, metric: ScoreMetric) -> None:
    """Set the champion's numbers for the list of models."""
    name = version.name
    tags = client.get_model_version(name, version.version).tags  # those of a version that was there may be new
    client.update_registered_model(
        name, f"Study {tags['study']}; run it with `whc demo --model {name}`. The card is in the version's description."
    )
    for key in (metric.key, *_LIST_PAGE_TAGS):
        client.set_registered_model_tag(name, key, tags[key])


def _are_champions(versions: Sequence[ModelVersion], champions: Sequence[Champion]) -> bool:
    """Whether a ladder is promoted already."""
    ours = {(version.name, str(version.version)) for version in versions}
    return ours == {(champion.name, champion.version) for champion in champions}


def _latency_ms(version: ModelVersion) -> float:
    return float(version.tags.get("latency_ms", "inf"))


def _describe_study(client: MlflowClient, run_id: str | None, table: LadderTable, folder: Path) -> None:
    """Show the ladder on the page of its study's run; a search that was not logged has none."""
    if run_id is None:
        return
    client.log_metric(run_id, "variants", len(table.variants))
    note = folder / "table.md"
    if note.is_file():
        ladder, *_ = note.read_text("utf-8").partition("\n## ")  # what was left out is in the attached file
        client.set_tag(run_id, store.NOTE_TAG, ladder[: store.MAX_NOTE_LENGTH])
    store.attach(client, run_id, folder)


def _demote(client: MlflowClient, name: str, table: LadderTable) -> str:
    client.delete_registered_model_alias(name, CHAMPION_ALIAS)
    for key in (table.metric.key, *_LIST_PAGE_TAGS):
        client.delete_registered_model_tag(name, key)
    return f"{name} is no longer {CHAMPION_ALIAS}: the ladder of {table.study} has no such variant"


def _find(client: MlflowClient, name: str) -> ModelVersion:
    """The version that a name means.

    Raises:
        RegistryError: there is none; the message lists similar names, or the existing versions.
    """
    models: dict[str, Any] = {model.name: model for model in _models(client)}
    parsed = _NAME_PATTERN.fullmatch(name)
    if not parsed:
        raise RegistryError(problem("model", "must be NAME, NAME@ALIAS or NAME/VERSION", name, "see `whc ui`"))
    model = models.get(parsed["model"])
    if model is None:
        raise RegistryError(
            problem("model", "must be a registered model", name, _nearest(parsed["model"], list(models)))
        )
    alias = parsed["alias"] or CHAMPION_ALIAS
    number = parsed["version"] or model.aliases.get(alias)
    versions = {str(version.version): version for version in client.search_model_versions(f"name = '{model.name}'")}
    choices = f"name one of: {', '.join(f'{model.name}/{key}' for key in sorted(versions, key=int))}"
    if number is None:
        raise RegistryError(f"{name}: no version has the alias {alias}; {choices}")
    if str(number) not in versions:
        raise RegistryError(problem(model.name, "must be one of its versions", number, choices))
    return versions[str(number)]


def _nearest(name: str, registered: list[str]) -> str:
    if not registered:
        return "none is registered yet: run `whc factory build-table`, or give a path to an .onnx file"
    similar = get_close_matches(name, registered, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(similar)}?" if similar else f"registered: {', '.join(sorted(registered))}"

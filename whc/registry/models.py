"""Variants as registered models: registered from a ladder's table, and looked up by name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from whc.errors import RegistryError, RegistryUnavailable
from whc.records import Champion, Gate, LadderTable
from whc.records import Metric as ScoreMetric
from whc.registry import lookup, publishing, store, studies
from whc.registry.failures import as_registry_errors
from whc.registry.files import ModelFiles, files_of, kept_files, own_file
from whc.registry.location import Location
from whc.registry.locking import locked
from whc.registry.lookup import CHAMPION_ALIAS
from whc.registry.remembered import remember, remembered

REASON_TAG = "promoted_because"
_LIST_PAGE_TAGS = ("latency_ms", "size_bytes")  # beside the score
_log = logging.getLogger(__name__)


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
        """Register every variant of every ladder, and promote a ladder if the gate lets it; a line to print for each.

        The last lines are the gates' refusals, if there are any. A shared registry that does not answer costs nothing:
        a warning says what registers the ladders later. Otherwise as `promote`.
        """
        try:
            self.log_search(folder)
            lines, refusal = self.promote(table, folder)
        except RegistryUnavailable as error:
            later = self._location.register_later("the ladder is not registered", table.study)
            _log.warning("%s\n%s", error, later)
            return []
        return [*lines, *refusal.splitlines()]

    def log_search(self, folder: Path) -> str:
        """Log the search of a study that is locked, unless it is logged; a line that says so, or is empty.

        Raises:
            RegistryError: the registry cannot be used.
        """
        with as_registry_errors(self._location):
            return studies.complete(self._location, store.connect_to_write(self._location), folder)

    def promote(self, table: LadderTable, folder: Path) -> tuple[list[str], str]:
        """Register every variant and make it champion; a name that its ladder no longer has loses that alias.

        Of a ladder nothing is registered unless the whole can be. The same file of the same study keeps its version. A
        ladder is promoted as a whole or, if the gate refuses, not at all; each of a study's ladders by itself.

        Args:
            table: the ladders.
            folder: the study's folder, which the table's paths start at.

        Returns:
            A line to print for each variant, and for each name that lost its alias; and why ladders were not promoted,
            a line for each, empty if all were.

        Raises:
            RegistryError: a champion predicts something else, a file is missing, or the database cannot be used.
            ArtifactError: a file is not one of whc's models.
        """
        with as_registry_errors(self._location):
            client = store.connect_to_write(self._location)
            decided = [self._promote(client, ladder, folder) for ladder in table.ladders]
            if parent := store.study_run_id(client, self._experiment(client, table), store.study_id(folder)):
                studies.describe(client, parent, table, folder)
        lines = [line for lines, _ in decided for line in lines]
        return lines, "\n".join(refusal for _, refusal in decided if refusal)

    def _promote(self, client: MlflowClient, table: LadderTable, folder: Path) -> tuple[list[str], str]:
        """As `promote`, for one ladder."""
        with locked(self._location):
            versions = self._register(client, table, folder)
        while True:
            # The gate takes minutes, and others may promote meanwhile: then it is asked again.
            champions = self._champions(client, table.prefix)
            refusal = "" if _are_champions(versions, champions) else self._gate(table, folder, champions)
            with locked(self._location):
                if self._champions(client, table.prefix) == champions:
                    return self._decide(client, table, versions, refusal), refusal

    def _experiment(self, client: MlflowClient, table: LadderTable) -> str:
        return store.experiment_id(client, table.study, self._location)

    def champions(self, prefix: str) -> list[Champion]:
        """The champions among `<prefix>_<letter>`, fastest first; none where there is no registry."""
        if not self._location.exists():
            return []
        with as_registry_errors(self._location):
            return self._champions(store.connect(self._location), prefix)

    def ladder(self, name: str) -> list[tuple[Champion, dict[str, str]]]:
        """The champions beside the one that a name means, and their tags, fastest first; empty if it means none.

        Raises:
            RegistryError: there is no such model, alias or version.
        """
        with as_registry_errors(self._location):
            client = store.connect(self._location)
            chosen = lookup.find(client, name)
            champions = lookup.champions(client, chosen.name.rpartition("_")[0])
            if chosen.name not in champions or str(champions[chosen.name].version) != str(chosen.version):
                return []
            versions = sorted(champions.values(), key=_latency_ms)
            return [(self._champion(client, version), dict(version.tags)) for version in versions]

    def listed(self) -> list[Registered]:
        """Every champion, ladder by ladder, fastest first; none where there is no registry."""
        if not self._location.exists():
            return []
        with as_registry_errors(self._location):
            client = store.connect(self._location)
            named = [model for model in lookup.all_models(client) if CHAMPION_ALIAS in model.aliases]
            versions = [client.get_model_version_by_alias(model.name, CHAMPION_ALIAS) for model in named]
            versions.sort(key=lambda version: (version.name.rpartition("_")[0], _latency_ms(version)))
            return [self._described(client, version) for version in versions]

    def described(self, name: str) -> Registered:
        """The version that a name means, as for `resolve`.

        Raises:
            RegistryError: there is no such model, alias or version.
        """
        with as_registry_errors(self._location):
            client = store.connect(self._location)
            return self._described(client, lookup.find(client, name))

    def _described(self, client: MlflowClient, version: ModelVersion) -> Registered:
        config = files_of(self._location, client).row(version).get("config", {})
        return Registered(version.name, str(version.version), tuple(version.aliases), dict(version.tags), config)

    def _champions(self, client: MlflowClient, prefix: str) -> list[Champion]:
        versions = sorted(lookup.champions(client, prefix).values(), key=_latency_ms)
        return [self._champion(client, version) for version in versions]

    def _champion(self, client: MlflowClient, version: ModelVersion) -> Champion:
        study = version.tags.get("study", "")
        fields = {"name": version.name, "version": str(version.version), "study": study}
        try:
            return Champion(path=files_of(self._location, client).model(version), **fields)
        except RegistryError as error:
            return Champion(path=None, fault=str(error), **fields)

    def resolve(self, name: str, suffix: str | None = None) -> Path:
        """A file of a registered model: in place, or with a shared registry, in the user's cache.

        While a shared registry does not answer, the file that the name meant last is used.

        Args:
            name: `whc_m` or `whc_m@champion` (the champion), `whc_m@alias`, or `whc_m/3` (a version).
            suffix: that of the file, None for the model's own. Of several others that it keeps, the fastest is given.

        Raises:
            RegistryError: there is no such model, alias or version, or no file with this suffix, or it is gone or was
                changed.
        """
        # A request for a model must not create an empty database.
        if not self._location.exists():
            raise RegistryError(
                f"{name}: must be a registered model, but there is no registry at {self._location.shown}; "
                "run `whc factory build-table`, or give a path to an .onnx file"
            )
        try:
            with as_registry_errors(self._location):
                client = store.connect(self._location)
                path = _file(files_of(self._location, client), lookup.find(client, name), suffix)
        except RegistryUnavailable as error:
            last = remembered(self._location, name, suffix)
            if last is None:
                raise
            _log.warning("%s\n%s: the file that was fetched last is used", error, name)
            return last
        if self._location.is_shared:
            remember(self._location, name, suffix, path)
        return path

    def _register(self, client: MlflowClient, table: LadderTable, folder: Path) -> list[ModelVersion]:
        for champion in lookup.champions(client, table.prefix).values():
            _refuse_foreign(champion, table)
        entries = [publishing.entry(row, table, folder) for row in table.variants]
        experiment = self._experiment(client, table)
        parent = store.study_run_id(client, experiment, store.study_id(folder))
        files = files_of(self._location, client)
        versions = publishing.publish(client, files, entries, experiment, parent)
        store.close_interrupted_runs(client, experiment, parent)
        return versions

    def _decide(
        self, client: MlflowClient, table: LadderTable, versions: Sequence[ModelVersion], refusal: str
    ) -> list[str]:
        """Promote a ladder unless it was refused."""
        registered = [f"registered {version.name} version {version.version}" for version in versions]
        if refusal:
            return registered
        former = lookup.champions(client, table.prefix).keys()
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


def _file(files: ModelFiles, version: ModelVersion, suffix: str | None) -> Path:
    """The file of a version that has this suffix."""
    own = own_file(version)
    if suffix is None or own.name.endswith(suffix):
        return files.model(version)
    kept = kept_files(files.row(version))
    for one in kept:
        if one.name.endswith(suffix):
            return files.model(version, one)
    rule, has = f"must have a {suffix} file for this runtime", ", ".join(one.name for one in (own, *kept))
    next_step = "leave --runtime out, or ask for such a file under `artifacts` in the recipe"
    raise RegistryError(f"{version.name}/{version.version}: {rule}, got {has} alone; {next_step}")


def _refuse_foreign(champion: ModelVersion, table: LadderTable) -> None:
    """Refuse a ladder that would change what the name `whc_m` predicts."""
    ours = {"task": table.task, "labels": publishing.labels_tag(table)}
    for key, value in ours.items():
        theirs = champion.tags.get(key, "unknown")
        if theirs != value:
            raise RegistryError(
                f"{champion.name}: {key} must stay its champion's {theirs}, got {value}; "
                "nothing was registered; choose another prefix with `whc factory build-table --prefix NAME`"
            )


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


def _demote(client: MlflowClient, name: str, table: LadderTable) -> str:
    client.delete_registered_model_alias(name, CHAMPION_ALIAS)
    for key in (table.metric.key, *_LIST_PAGE_TAGS):
        client.delete_registered_model_tag(name, key)
    return f"{name} is no longer {CHAMPION_ALIAS}: the ladder of {table.study} has no such variant"

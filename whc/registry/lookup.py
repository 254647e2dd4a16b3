"""Registered models by name."""

from __future__ import annotations

import re
from difflib import get_close_matches

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel

from whc.errors import RegistryError, problem

CHAMPION_ALIAS = "champion"
_NAME_PATTERN = re.compile(r"(?P<model>[^@/]+)(@(?P<alias>[^@/]+)|/(?P<version>\d+))?")
_LETTER_PATTERN = re.compile(r"[pntscml]")


def champions(client: MlflowClient, prefix: str) -> dict[str, ModelVersion]:
    """The champions among `<prefix>_<letter>`, by name."""
    return {
        model.name: client.get_model_version_by_alias(model.name, CHAMPION_ALIAS)
        for model in all_models(client)
        if CHAMPION_ALIAS in model.aliases
        and model.name.startswith(f"{prefix}_")
        and _LETTER_PATTERN.fullmatch(model.name.removeprefix(f"{prefix}_"))
    }


def all_models(client: MlflowClient) -> list[RegisteredModel]:
    """Every registered model."""
    models: list[RegisteredModel] = []
    token = None
    while True:
        page = client.search_registered_models(page_token=token)
        models += page
        token = page.token
        if not token:
            return models


def find(client: MlflowClient, name: str) -> ModelVersion:
    """The version that a name means.

    Raises:
        RegistryError: there is none; the message lists similar names, or the existing versions.
    """
    models: dict[str, RegisteredModel] = {model.name: model for model in all_models(client)}
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
    versions = {str(version.version) for version in client.search_model_versions(f"name = '{model.name}'")}
    choices = f"name one of: {', '.join(f'{model.name}/{key}' for key in sorted(versions, key=int))}"
    if number is None:
        raise RegistryError(f"{name}: no version has the alias {alias}; {choices}")
    if str(number) not in versions:
        raise RegistryError(problem(model.name, "must be one of its versions", number, choices))
    return client.get_model_version(model.name, str(number))  # a search for versions leaves out their aliases


def _nearest(name: str, registered: list[str]) -> str:
    if not registered:
        return "none is registered yet: run `whc factory build-table`, or give a path to an .onnx file"
    similar = get_close_matches(name, registered, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(similar)}?" if similar else f"registered: {', '.join(sorted(registered))}"

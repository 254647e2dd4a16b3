"""Plug-ins are files or packages: `names` lists a folder without importing it, `load` imports one plug-in.

A plug-in file defines `class Config` (its own parameters) and what the docstring of its kind's package demands. A kind
is the folder's dotted path below `whc`, such as `models.backbones`. No table lists them: a new file is a new choice.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError
from pydantic_core import core_schema

from whc.errors import shown

ALIASES = {"3dcnn": "cnn3d"}
_DEFINES_CONFIG = re.compile(r"^class Config\(", re.MULTILINE)


@cache
def names(kind: str) -> tuple[str, ...]:
    """Names of the plug-ins of a kind, sorted, found without importing any of them."""
    folder = Path(__file__).parent.joinpath(*kind.split("."))
    files = {file.stem: file for file in folder.glob("*.py") if file.stem != "__init__"}
    files |= {file.parent.name: file for file in folder.glob("*/__init__.py")}
    return tuple(sorted(name for name, file in files.items() if _DEFINES_CONFIG.search(file.read_text("utf-8"))))


def load(kind: str, name: str) -> ModuleType:
    """Import one plug-in.

    Raises:
        ValueError: no such plug-in; the message lists the valid names.
    """
    name = ALIASES.get(name, name)
    valid_names = names(kind)
    if name not in valid_names:
        similar = get_close_matches(name, valid_names, n=1)
        hint = f"did you mean {similar[0]!r}?" if similar else f"choose one of: {', '.join(valid_names)}"
        raise ValueError(f"must be one of {', '.join(valid_names)}, got {shown(name)}; {hint}")
    return importlib.import_module(f"whc.{kind}.{name}")


@dataclass(frozen=True)
class Choice:
    """A chosen plug-in with its own parameters; written `name` or `{name: {parameter: value}}`."""

    name: str
    config: BaseModel

    def dump(self) -> str | dict[str, dict[str, Any]]:
        """The form a configuration file holds: the bare name when the plug-in has no parameters."""
        parameters = self.config.model_dump(mode="json")
        return {self.name: parameters} if parameters else self.name


class NestedErrors(ValueError):
    """Errors in a plug-in's own parameters, kept separate so that each is reported under its own key."""

    def __init__(self, name: str, cause: ValidationError, model: type[BaseModel]) -> None:
        super().__init__(name)  # the message is in `cause`: to format it takes long where a value is large
        self.name, self.cause, self.model = name, cause, model


@dataclass(frozen=True)
class ChoiceOf:
    """Annotation that makes a pydantic field a `Choice` among the plug-ins of `kind`."""

    kind: str

    def parse(self, value: object) -> Choice:
        """Read `name`, `{name: {...}}` or a ready `Choice`; raises ValueError when it is none of them."""
        if isinstance(value, Choice):
            return value
        parameters: object = {}
        if isinstance(value, Mapping):
            if len(value) != 1:
                raise ValueError(f"must be a name or one {{name: parameters}}, got {len(value)} keys; name one choice")
            ((value, parameters),) = value.items()
        if not isinstance(value, str):
            raise ValueError(f"must be one of {', '.join(names(self.kind))}, got {shown(value)}; name one of them")
        module = load(self.kind, value)
        name = ALIASES.get(value, value)
        config_type: type[BaseModel] = module.Config
        try:
            return Choice(name, config_type.model_validate({} if parameters is None else parameters))
        except ValidationError as error:
            raise NestedErrors(name, error, config_type) from error

    def default(self, name: str) -> Any:
        """A pydantic field whose default is the plug-in `name` with its default parameters."""
        return Field(default_factory=lambda: self.parse(name))

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(Choice.dump)
        )


class PluginConfig(BaseModel):
    """Base of every plug-in's `Config`: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

"""The JSON Schema of search files, for editors: read off the classes that check them, and the plug-ins there are."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from whc import plugins
from whc.search.running.study import SearchFile
from whc.search.space.rules import RULE_EXAMPLE, RULE_PATTERN
from whc.search.space.space import choice_kind, section_model
from whc.training.augmentation import Augmentation
from whc.trials.config import TrialConfig

Schema = dict[str, Any]

SCHEMA_DRAFT = "http://json-schema.org/draft-07/schema#"  # the one that editors know best
RANGE_KINDS = {"integer": ("int_range",), "number": ("float_range", "int_range")}


def text() -> str:
    """The schema as `search_spaces/schema.json` holds it."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def schema() -> Schema:
    """The schema of a file in search_spaces/."""
    definitions = {"float_range": _range("float", "number"), "int_range": _range("int", "integer", step=True)}
    whole = _section(SearchFile, definitions, drawn=False)
    space = _section(TrialConfig, definitions, drawn=True)
    space["properties"]["rules"] = {
        "type": "array",
        "items": {"type": "string", "pattern": f"^{RULE_PATTERN}$"},
        "description": f"Links between parameters, all of which are kept; {RULE_EXAMPLE}.",
    }
    name: Schema = {"type": "string"}
    include = {"anyOf": [name, _list(name)], "description": "Search files whose content this one is laid over."}
    whole["properties"] |= {"space": space, "include": include}
    required = whole.pop("required")
    whole["anyOf"] = [{"required": required}, {"required": ["include"]}]
    return {"$schema": SCHEMA_DRAFT, "title": "whc search file", **whole, "$defs": definitions}


def _section(model: type[BaseModel], definitions: Schema, drawn: bool) -> Schema:
    """The keys of a class; where values are `drawn`, each may also be a list or a range."""
    fields = model.model_fields.items()
    required = [name for name, field in fields if field.is_required()]
    return {
        "type": "object",
        "description": " ".join((inspect.getdoc(model) or "").split()),
        "properties": {name: _field(model, name, field, definitions, drawn) for name, field in fields},
        "additionalProperties": False,
        **({"required": required} if required and not drawn else {}),
    }


def _field(model: type[BaseModel], name: str, field: FieldInfo, definitions: Schema, drawn: bool) -> Schema:
    kind, inner = choice_kind(model, name), section_model(model, name)
    if kind:
        default = {} if field.is_required() else {"default": field.get_default(call_default_factory=True).dump()}
        return _choice(kind, definitions, drawn) | default
    if inner:
        section = _section(inner, definitions, drawn)
        return {"anyOf": [section, {"type": "string"}]} if inner is Augmentation else section  # or the path of a file
    # As written to a file, where a size is 48x30 and not the pair that it is read as.
    whole: Any = Annotated[field.annotation, field]
    value = TypeAdapter(whole).json_schema(mode="serialization")
    definitions |= value.pop("$defs", {})
    default = {"default": value.pop("default")} if "default" in value else {}
    return (_drawn(value) if drawn else value) | default


def _drawn(value: Schema) -> Schema:
    """A value, a list of such values, or a range of them where it is a number."""
    kinds = {value.get("type"), *(part.get("type") for part in value.get("anyOf", ()))}
    names = dict.fromkeys(name for kind, ranges in RANGE_KINDS.items() if kind in kinds for name in ranges)
    return {"anyOf": [value, _list(value), *({"$ref": f"#/$defs/{name}"} for name in names)]}


def _choice(kind: str, definitions: Schema, drawn: bool) -> Schema:
    """A plug-in by its name or with its parameters; where it is `drawn`, several of either."""
    names = plugins.names(kind)
    names += tuple(alias for alias, name in plugins.ALIASES.items() if name in names)
    configs: Mapping[str, type[BaseModel]] = {name: plugins.load(kind, name).Config for name in names}
    name: Schema = {"enum": list(names)}
    parameters: Schema = {
        "type": "object",
        "properties": {
            name: {"anyOf": [_section(config, definitions, drawn), {"type": "null"}]}
            for name, config in configs.items()
        },
        "additionalProperties": False,
        "minProperties": 1,
    }
    single = parameters | {"maxProperties": 1}
    return {"anyOf": [name, parameters, _list({"anyOf": [name, single]})] if drawn else [name, single]}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def _range(name: str, kind: str, step: bool = False) -> Schema:
    ends = {"type": "array", "items": {"type": kind}, "minItems": 2, "maxItems": 2, "description": "Low and high end."}
    extra: Schema = {"log": {"type": "boolean", "default": False, "description": "Drawn evenly on a log scale."}}
    if step:
        extra["step"] = {"type": "integer", "minimum": 1, "default": 1}
    return {"type": "object", "properties": {name: ends, **extra}, "required": [name], "additionalProperties": False}

"""Configuration files: the only place that parses YAML, and the words in which their errors are told."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from whc.errors import UsageError, problem
from whc.plugins import NestedErrors


class Settings(BaseModel):
    """Base of every configuration model: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, with 1e-3 read as a number, dates as text, and a key given twice refused."""

    # Dates have no place in a configuration, and JSON (records, fingerprints) could not hold them.
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Dumper(yaml.SafeDumper):
    """Quotes text that `_Loader` would read as a number, such as the fingerprint 1234e567."""


for _either in (_Loader, _Dumper):
    _either.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
    )


def _mapping_without_duplicates(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key.start_mark)
        if key.value in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
        seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping_without_duplicates)


def _parse(text: str) -> Any:
    """YAML text as plain values; raises ValueError that says on which line it is wrong, and how."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"line {line}: must be valid YAML, got: {error.problem}; mend that line") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"line {line}: must be valid YAML, got: {error.reason}; mend that line") from error
    except (ValueError, AttributeError, RecursionError) as error:
        # PyYAML's own: a value that its tag does not allow (`!!int x`), or thousands of brackets.
        raise ValueError(f"must be valid YAML, got: {error}; mend that value") from error


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        UsageError: the file is missing, not YAML, or not a mapping.
    """
    try:
        content = _parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: must be a readable YAML file, got {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: must be UTF-8 text, got other bytes; is it a YAML file?") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(problem(str(path), "must hold a mapping of keys to values", content, "see search_spaces/"))
    return content


def dump_yaml(content: Mapping[str, Any]) -> str:
    """A mapping as YAML text, keys in the order given."""
    text: str = yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def validate(model: type[Model], content: object, source: str) -> Model:
    """Check `content` against `model`; every error is told, one a line.

    Args:
        model: the configuration class.
        content: what a YAML file or the command line gave.
        source: file name shown in front of each error.

    Raises:
        UsageError: one line for each error, `source: dotted.key: rule, got value; next step`.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UsageError("\n".join(_lines(error, model, source, ()))) from error


def _lines(error: ValidationError, model: type[BaseModel], source: str, prefix: tuple[str, ...]) -> Iterator[str]:
    for item in error.errors():
        where = (*prefix, *(str(part) for part in item["loc"]))
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, NestedErrors):
            yield from _lines(cause.cause, cause.model, source, (*where, cause.name))
            continue
        key = f"{source}: {'.'.join(where)}" if where else source
        if item["type"] == "extra_forbidden":
            yield f"{key}: unknown key; {_suggestion(model, item['loc'])}"
        elif item["type"] == "missing":
            yield f"{key}: required, got nothing; add it"
        elif item["type"] == "value_error":
            yield f"{key}: {cause}"
        else:
            rule = item["msg"][0].lower() + item["msg"][1:]
            yield problem(key, rule.replace("input should be", "must be"), item["input"], "change the value")


def _suggestion(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """What could have been meant at `loc`, read off the model's fields."""
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return "remove it"
        model = inner
    known = list(model.model_fields)
    near = get_close_matches(str(loc[-1]), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known) or 'no keys'}"


def overlay(content: dict[str, Any], assignments: Mapping[str, str]) -> dict[str, Any]:
    """Lay `dotted.key=value` assignments over a configuration; values are read as YAML.

    Raises:
        UsageError: a value is not YAML.
    """
    result: dict[str, Any] = json.loads(json.dumps(content))
    for dotted, text in assignments.items():
        node = result
        *path, last = dotted.split(".")
        for part in path:
            if not isinstance(node.get(part), dict):
                # `model.backbone.inverted_se.expansion=2` also chooses inverted_se.
                node[part] = {}
            node = node[part]
        try:
            node[last] = _parse(text)
        except ValueError as error:
            raise UsageError(problem(f"--set {dotted}", "value must be YAML", text, "quote it")) from error
    return result


def shipped(folder: str, name: str) -> Path:
    """Path of a file from `search_spaces/` or `factory/`: the user's own first, then the one installed with whc.

    Args:
        folder: `search_spaces` or `factory`.
        name: a path, or a bare name with or without `.yaml`.

    Raises:
        UsageError: there is no such file; the message lists those there are.
    """
    package = Path(__file__).parent
    file_name = name if Path(name).suffix else f"{name}.yaml"
    # An installed wheel holds the folders inside the package, a checkout beside it.
    roots = [Path.cwd() / folder, package / "shipped" / folder, package.parent / folder]
    for path in [Path(name), *(root / file_name for root in roots)]:
        if path.is_file():
            return path
    found = sorted({file.name for root in roots for file in root.glob("*.yaml")})
    raise UsageError(problem(folder, "no such file", name, f"shipped ones: {', '.join(found)}"))


def render(template: Path, **values: Any) -> str:
    """Text of a Markdown template of factory/, filled in.

    Raises:
        UsageError: the template has an error.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=False,  # noqa: S701 (Markdown is text)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    try:
        return environment.get_template(template.name).render(values)
    except (TemplateError, TypeError) as error:  # the latter from what a template does with a value that is None
        raise UsageError(f"{template}: must be a jinja2 template, got: {error}; mend the template") from error


def fingerprint(content: object) -> str:
    """Short hash of a JSON-like value that does not depend on the order of keys."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]

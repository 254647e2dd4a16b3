"""Configuration files: the only module that parses YAML, and that words the errors in such files."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from whc.errors import UsageError, problem
from whc.paths import is_file
from whc.plugins import NestedErrors
from whc.words import in_markdown, moment, quantity

# Limits of one file: far more than anybody writes by hand, and still read within a second.
MAX_BYTES = 256 * 1024
MAX_VALUES = 20_000
MAX_DEPTH = 50
_MAX_DIGITS = 40
_ALLOWED_TAGS = (
    "null",
    "bool",
    "int",
    "float",
    "str",
    "seq",
    "map",
)  # those that JSON (records, fingerprints) can hold


class Settings(BaseModel):
    """Base of every configuration model: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Model = TypeVar("Model", bound=BaseModel)


class _TooLargeError(ValueError):
    """YAML that holds more than a configuration may."""


class _Loader(yaml.SafeLoader):
    """The part of YAML that JSON can hold: 1e-3 is a number, dates are text, and a duplicate key is an error.

    Values are counted before any is built, each alias with all values that it stands for: ten lines of nested aliases
    can stand for more values than fit into memory.
    """

    # Dates have no place in a configuration, and JSON could not hold them.
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {
        tag: build
        for tag, build in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.removeprefix("tag:yaml.org,2002:") in _ALLOWED_TAGS
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next value with all values inside it, counted."""
        line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        is_alias, values_before = self.check_event(yaml.AliasEvent), self._values
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _TooLargeError(f"line {line}: must nest at most {MAX_DEPTH} deep, got more; write it flatter")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise _TooLargeError(f"line {line}: must not hold itself, got an alias to what it is in; remove the alias")
        self._values += self._sizes[id(node)] if is_alias else 1
        if self._values > MAX_VALUES:
            rule = f"must hold at most {MAX_VALUES} values, each alias counted as all that it stands for"
            raise _TooLargeError(f"line {line}: {rule}, got more; write less")
        if not is_alias:
            self._sizes[id(node)] = self._values - values_before
        return node


class _Dumper(yaml.SafeDumper):
    """Writer that quotes text which `_Loader` would read as a number, such as the fingerprint 1234e567."""


for _yaml_class in (_Loader, _Dumper):
    _yaml_class.add_implicit_resolver(
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
    """YAML text as plain values.

    Raises:
        ValueError: the message has a line for each problem: the wrong line, or the key of an unusable number.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        problems = dict.fromkeys(_unusable_numbers(node, "", loader))
        if problems:
            raise _TooLargeError("\n".join(problems))
        return loader.construct_document(node) if node else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"line {line}: must be valid YAML, got: {error.problem}; mend that line") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"line {line}: must be valid YAML, got: {error.reason}; mend that line") from error
    except _TooLargeError:
        raise
    except (ValueError, AttributeError, KeyError) as error:
        # PyYAML raises these for a value that its tag does not allow (`!!int x`, `!!bool x`).
        raise ValueError(f"must be valid YAML, got: {error}; mend that value") from error


def _unusable_numbers(node: yaml.Node | None, key: str, loader: _Loader) -> Iterator[str]:
    """A problem for each number that is not finite, or is an integer beyond 64 bits, before any code uses it."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            inner = f"{key}.{name.value}".lstrip(".") if isinstance(name, yaml.ScalarNode) else key
            yield from _unusable_numbers(name, key, loader)
            yield from _unusable_numbers(value, inner, loader)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _unusable_numbers(value, key, loader)
    elif isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float")):
        usable = len(node.value) <= _MAX_DIGITS and _is_usable(loader.construct_object(node))
        if not usable:
            rule = "must be a finite number, a whole one within 64 bits"
            yield problem(key, rule, node.value, "write a smaller one, or quote it if it is text").removeprefix(": ")


def _is_usable(number: float) -> bool:
    return -(2**63) <= number < 2**63 if isinstance(number, int) else math.isfinite(number)


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        UsageError: the file is missing, not YAML, not a mapping, or larger than a configuration may be.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise _TooLargeError(f"must be at most {MAX_BYTES // 1024} KB, got more; is it a configuration?")
        content = _parse(text.decode("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: must be a readable YAML file, got {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: must be UTF-8 text, got other bytes; is it a YAML file?") from error
    except ValueError as error:
        raise UsageError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error
    if not isinstance(content, dict):
        raise UsageError(problem(str(path), "must hold a mapping of keys to values", content, "see search_spaces/"))
    return content


def dump_yaml(content: Mapping[str, Any]) -> str:
    """A mapping as YAML text, keys in the order given."""
    text: str = yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def validate(model: type[Model], content: object, source: str) -> Model:
    """Check `content` against `model`; the message lists every error, one a line.

    Args:
        model: the configuration class.
        content: values from a YAML file or the command line.
        source: file name shown before each error.

    Raises:
        UsageError: one line for each error, `source: dotted.key: rule, got value; next step`.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UsageError("\n".join(_error_lines(error, model, source, ()))) from error


def _error_lines(error: ValidationError, model: type[BaseModel], source: str, prefix: tuple[str, ...]) -> Iterator[str]:
    for item in error.errors():
        where = (*prefix, *(str(part) for part in item["loc"]))
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, NestedErrors):
            yield from _error_lines(cause.cause, cause.model, source, (*where, cause.name))
            continue
        key = f"{source}: {'.'.join(where)}" if where else source
        if item["type"] == "extra_forbidden":
            yield f"{key}: unknown key; {_nearest_key(model, item['loc'])}"
        elif item["type"] == "missing":
            yield f"{key}: required, got nothing; add it"
        elif item["type"] == "value_error":
            yield f"{key}: {cause}"
        else:
            rule = item["msg"][0].lower() + item["msg"][1:]
            yield problem(key, rule.replace("input should be", "must be"), item["input"], "change the value")


def _nearest_key(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """A hint for the unknown key at `loc`: the most similar field of the model, or all its fields."""
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return "remove it"
        model = inner
    valid_keys = list(model.model_fields)
    similar = get_close_matches(str(loc[-1]), valid_keys, n=1)
    return f"did you mean {similar[0]!r}?" if similar else f"known here: {', '.join(valid_keys) or 'no keys'}"


def overlay(content: dict[str, Any], assignments: Mapping[str, str]) -> dict[str, Any]:
    """Lay `dotted.key=value` assignments over a configuration; values are read as YAML.

    Raises:
        UsageError: a value is not YAML, or too large.
    """
    result: dict[str, Any] = json.loads(json.dumps(content))
    for dotted, text in assignments.items():
        node = result
        *path, last = dotted.split(".", MAX_DEPTH)
        for part in path:
            if not isinstance(node.get(part), dict):
                # `model.backbone.inverted_se.expansion=2` chooses inverted_se too.
                node[part] = {}
            node = node[part]
        try:
            node[last] = _parse(text)
        except _TooLargeError as error:
            raise UsageError("\n".join(f"--set {dotted}: {line}" for line in str(error).splitlines())) from error
        except ValueError as error:
            raise UsageError(problem(f"--set {dotted}", "value must be YAML", text, "quote it")) from error
    return result


def laid_over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration with changes: mappings key by key, anything else is replaced.

    A choice, `name` or `{name: parameters}`, keeps the parameters that are not named if its name stays.
    """
    result = dict(base)
    for key, new in changes.items():
        old = result.get(key)
        if not isinstance(old, Mapping) or not isinstance(new, Mapping):
            result[key] = old if isinstance(old, Mapping) and list(old) == [new] else new
        elif len(old) == len(new) == 1 and old.keys() != new.keys():
            result[key] = new  # another choice
        else:
            result[key] = laid_over(old, new)
    return result


def shipped(folder: str, name: str) -> Path:
    """Path of a file of `search_spaces/` or `factory/`: the user's own file, else the one installed with whc.

    Args:
        folder: `search_spaces` or `factory`.
        name: a path, or a bare name with or without `.yaml`.

    Raises:
        UsageError: there is no such file; the message lists the existing ones.
    """
    file_name = name if Path(name).suffix else f"{name}.yaml"
    for path in [Path(name), *(root / file_name for root in _folders_to_search(folder))]:
        if is_file(path):
            return path
    available = [f"{name}.yaml" for name in shipped_names(folder)]
    raise UsageError(problem(folder, "no such file", name, f"shipped ones: {', '.join(available)}"))


def shipped_names(folder: str) -> list[str]:
    """Names that `shipped` accepts without a path, sorted."""
    return sorted({file.stem for root in _folders_to_search(folder) for file in root.glob("*.yaml")})


def _folders_to_search(folder: str) -> list[Path]:
    package = Path(__file__).parent
    # In an installed wheel the folders are inside the package, in a checkout beside it.
    return [Path.cwd() / folder, package / "shipped" / folder, package.parent / folder]


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
    environment.globals |= {"quantity": quantity, "moment": moment}
    environment.filters["in_markdown"] = in_markdown
    try:
        return environment.get_template(template.name).render(values)
    except (TemplateError, TypeError) as error:  # TypeError: the template computes with a value that is None
        raise UsageError(f"{template}: must be a jinja2 template, got: {error}; mend the template") from error


def fingerprint(content: object) -> str:
    """Short hash of a JSON-like value; the order of keys does not change it."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]

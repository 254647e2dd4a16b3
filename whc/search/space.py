"""A search space in YAML, as a tree: what is fixed, what is drawn, and what hangs on a choice.

A space looks like a trial's configuration in which any value may be a list of options or a range:

    lr: {float: [1e-3, 1e-2], log: true}
    depth: {int: [2, 6], step: 2}
    head: [avg, avgmax_mlp]
    backbone: {baseline: {}, inverted_se: {expansion: [2, 4]}}
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import BaseModel

from whc import plugins
from whc.config import validate
from whc.errors import UsageError, problem
from whc.models.assemble import ModelConfig
from whc.plugins import ChoiceOf
from whc.trials.config import TrialConfig


@dataclass(frozen=True)
class Fixed:
    """A value that is the same in every trial."""

    value: Any


@dataclass(frozen=True)
class Draw:
    """A value drawn from a distribution of Optuna."""

    distribution: BaseDistribution


@dataclass(frozen=True)
class Section:
    """Keys that are all present."""

    children: Mapping[str, Node]


@dataclass(frozen=True)
class Branches:
    """Plug-ins of which one is chosen, each with its own parameters."""

    children: Mapping[str, Section]


Node = Fixed | Draw | Section | Branches


def compile_space(raw: Mapping[str, Any], source: str) -> Section:
    """Read and check the `space:` part of a search file.

    Args:
        raw: the mapping as YAML gives it.
        source: file name for messages.

    Raises:
        UsageError: unknown keys, impossible ranges, values that a configuration would refuse; all told together.
    """
    problems: list[str] = []
    tree = _section(raw, TrialConfig, f"{source}: space", problems)
    for sample in _probes(tree):
        problems += _refusals(sample, source)
    if problems:
        raise UsageError("\n".join(dict.fromkeys(problems)))
    return tree


def _section(raw: Mapping[Any, Any], owner: type[BaseModel] | None, where: str, problems: list[str]) -> Section:
    """What is sound of a mapping: a key with a problem is left out, so that the others can still be tried."""
    children = {str(key): _node(value, owner, str(key), f"{where}.{key}", problems) for key, value in raw.items()}
    return Section({key: node for key, node in children.items() if node})


def _node(value: object, owner: type[BaseModel] | None, key: str, where: str, problems: list[str]) -> Node | None:
    field = owner.model_fields.get(key) if owner else None
    kind = next((item.kind for item in field.metadata if isinstance(item, ChoiceOf)), None) if field else None
    if kind:
        return _branches(value, kind, where, problems)
    annotation = field.annotation if field else None
    inner = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    if inner and not isinstance(value, Mapping):
        problems.append(problem(where, "must be a mapping", value, f"its keys: {', '.join(inner.model_fields)}"))
        return None
    if isinstance(value, list):
        return _options(value, where, problems)
    if isinstance(value, Mapping):
        if {"float", "int"} & set(value) and not inner:
            return _range(value, where, problems)
        return _section(value, inner, where, problems)
    return Fixed(value)


def _options(values: list[Any], where: str, problems: list[str]) -> Node | None:
    if not values or any(isinstance(value, (list, dict)) for value in values):
        problems.append(problem(where, "must list plain values", values, "list at least one, or give a range"))
        return None
    if len(set(map(str, values))) != len(values):
        problems.append(problem(where, "must not list a value twice", values, "remove the repeats"))
        return None
    return Fixed(values[0]) if len(values) == 1 else Draw(CategoricalDistribution(values))


def _range(value: Mapping[str, Any], where: str, problems: list[str]) -> Node | None:
    kind = "float" if "float" in value else "int"
    extras = {"float": {"log"}, "int": {"log", "step"}}[kind]
    unknown = sorted(set(value) - {kind} - extras)
    if unknown:
        problems.append(
            f"{where}: unknown key {unknown[0]!r} in a range; known here: {', '.join(sorted({kind} | extras))}"
        )
        return None
    ends, log, step = value[kind], value.get("log", False), value.get("step", 1)
    rule = _broken_rule(kind, ends, log, step)
    if rule:
        problems.append(problem(where, f"impossible range ({rule})", dict(value), f"write {{{kind}: [low, high]}}"))
        return None
    low, high = ends
    if kind == "float":
        return Draw(FloatDistribution(low, high, log=log))
    return Draw(IntDistribution(low, high, log=log, step=step))


def _broken_rule(kind: str, ends: object, log: object, step: object) -> str:
    """What a range breaks, nothing if it is sound."""
    number, words = (int, "whole numbers") if kind == "int" else ((int, float), "numbers")
    if not (isinstance(ends, list) and len(ends) == 2 and all(_is_number(end, number) for end in ends)):
        return f"the ends must be two {words}"
    if not isinstance(log, bool):
        return "log must be true or false"
    if not (_is_number(step, int) and isinstance(step, int) and step > 0):
        return "the step must be a whole number above 0"
    low, high = ends
    broken = {
        "the first end must be less than the second": low >= high,
        "a log range must begin above 0": log and low <= 0,
        "a log range takes no step": log and step != 1,
        "the step must divide the range": kind == "int" and (high - low) % step != 0,
    }
    return next((rule for rule, holds in broken.items() if holds), "")


def _is_number(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)  # type: ignore[arg-type]


def _branches(value: object, kind: str, where: str, problems: list[str]) -> Node | None:
    options: dict[str, object] = {}
    if isinstance(value, str):
        options[value] = {}
    elif isinstance(value, list):
        for item in value:
            named = item if isinstance(item, Mapping) else {str(item): {}}
            if options.keys() & named.keys():
                problems.append(problem(where, "must not list a choice twice", value, "remove the repeats"))
            options.update(named)
    elif isinstance(value, Mapping):
        options.update({str(name): parameters for name, parameters in value.items()})
    if not options:
        problems.append(
            problem(where, "must name at least one choice", value, f"one of {', '.join(plugins.names(kind))}")
        )
    branches: dict[str, Section] = {}
    for name, parameters in options.items():
        try:
            config: type[BaseModel] = plugins.load(kind, name).Config
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        if not isinstance(parameters or {}, Mapping):
            problems.append(
                problem(f"{where}.{name}", "must be a mapping of its parameters", parameters, "write {} for none")
            )
            continue
        children = dict(parameters or {})  # type: ignore[call-overload]
        branches[name] = _section(children, config, f"{where}.{name}", problems)
    return Branches(branches) if branches else None


def _probes(tree: Section) -> Iterator[dict[str, Any]]:
    """Configurations that together hold every option, every branch and both ends of every range."""
    base = _first(tree)
    yield base
    yield from _variations(tree)


def _first(node: Node) -> Any:
    return next(iter(_variations(node)))


def _variations(node: Node) -> Iterator[Any]:
    """Values of a node: the first one, then ones that differ from it in one place."""
    if isinstance(node, Fixed):
        yield node.value
    elif isinstance(node, Draw):
        yield from _values(node.distribution)
    elif isinstance(node, Branches):
        for name, section in node.children.items():
            for parameters in _variations(section):
                yield {name: parameters}
    else:
        first = {key: _first(child) for key, child in node.children.items()}
        yield first
        for key, child in node.children.items():
            for value in list(_variations(child))[1:]:
                yield {**first, key: value}


def _values(distribution: BaseDistribution) -> Iterator[Any]:
    """Every option, or both ends of a range."""
    if isinstance(distribution, CategoricalDistribution):
        yield from distribution.choices
    elif isinstance(distribution, (FloatDistribution, IntDistribution)):
        yield from (distribution.low, distribution.high)
        if isinstance(distribution, FloatDistribution):
            # Also one between, as a value that must be whole would take 4.0 and 8.0.
            yield distribution.low + (distribution.high - distribution.low) / math.e


def _refusals(sample: dict[str, Any], source: str) -> list[str]:
    """What a configuration refuses about single values; parts that only do not fit each other are redrawn later."""
    try:
        validate(TrialConfig, sample, f"{source}: space")
    except UsageError as error:
        lines = [line.replace(f"{source}: space: ", f"{source}: space.", 1) for line in str(error).splitlines()]
        return [line for line in lines if not line.startswith(f"{source}: space.model: ")]
    return []


def suggest(tree: Section, trial: optuna.Trial) -> dict[str, Any]:
    """Draw a configuration (not yet checked for parts that do not fit each other)."""
    result = _suggest(tree, "", trial)
    assert isinstance(result, dict)  # noqa: S101 (a section gives a dict)
    return result


def _suggest(node: Node, key: str, trial: optuna.Trial) -> Any:
    if isinstance(node, Fixed):
        return node.value
    if isinstance(node, Draw):
        return _draw(node.distribution, key, trial)
    if isinstance(node, Branches):
        names = list(node.children)
        name = names[0] if len(names) == 1 else trial.suggest_categorical(key, names)
        return {name: _suggest(node.children[name], f"{key}.{name}", trial)}
    # A sequence model comes first: what it has no use for is not drawn.
    drawn: dict[str, Any] = {}
    unused: tuple[str, ...] = ()
    for name in sorted(node.children, key=lambda name: (key, name) != ("model", "sequence")):
        if name not in unused:
            drawn[name] = _suggest(node.children[name], f"{key}.{name}".lstrip("."), trial)
        if (key, name) == ("model", "sequence"):
            unused = plugins.load("models.sequence", next(iter(drawn[name]))).UNUSED
    return drawn


def _draw(distribution: BaseDistribution, key: str, trial: optuna.Trial) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(key, distribution.choices)
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(key, distribution.low, distribution.high, log=distribution.log)
    assert isinstance(distribution, IntDistribution)  # noqa: S101 (the three kinds there are)
    return trial.suggest_int(key, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def distributions(tree: Section) -> dict[str, BaseDistribution]:
    """Every parameter that the space can draw, by dotted key."""
    found: dict[str, BaseDistribution] = {}

    def walk(node: Node, key: str) -> None:
        if isinstance(node, Draw):
            found[key] = node.distribution
        elif isinstance(node, (Branches, Section)):
            if isinstance(node, Branches) and len(node.children) > 1:
                found[key] = CategoricalDistribution(list(node.children))
            for name, child in node.children.items():
                walk(child, f"{key}.{name}".lstrip("."))

    walk(tree, "")
    return found


def image_sizes(tree: Section) -> list[tuple[int, int]]:
    """Every image size that the space can draw, so that the data is decoded once for all of them."""
    model = tree.children.get("model")
    node = model.children.get("image_size") if isinstance(model, Section) else None
    if node is None:
        return [TrialConfig().model.image_size]
    if isinstance(node, Draw) and isinstance(node.distribution, IntDistribution):
        values: list[Any] = list(range(node.distribution.low, node.distribution.high + 1, node.distribution.step))
    else:
        values = list(_variations(node))
    return [ModelConfig(image_size=value).image_size for value in values]

"""A search space in YAML, as a tree: what is fixed, what is drawn, and what hangs on a choice.

A space looks like a trial's configuration in which any value may be a list of options or a range:

    lr: {float: [1e-3, 1e-2], log: true}
    depth: {int: [2, 6], step: 2}
    head: [avg, avgmax_mlp]
    backbone: {baseline: {}, inverted_se: {expansion: [2, 4]}}

Its `rules` link parameters to each other (rules.py); what breaks one is drawn again.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial, FixedTrial
from pydantic import BaseModel

from whc import plugins
from whc.config import validate
from whc.errors import UsageError, problem
from whc.models.assemble import ModelConfig
from whc.plugins import Choice, ChoiceOf
from whc.search.space import ranges, rules
from whc.search.space.rules import Rule
from whc.tasks import TASK_CHOICES
from whc.training.loop import TrainingConfig
from whc.trials.config import TrialConfig
from whc.trials.learning import teacher_sizes

MAX_DRAWS = 1000


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
    """Keys that are all present; the outermost one keeps the rules of the whole space."""

    children: Mapping[str, Node]
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class Branches:
    """Plug-ins of which one is chosen, each with its own parameters."""

    children: Mapping[str, Section]


Node = Fixed | Draw | Section | Branches


class BrokenRuleError(ValueError):
    """A draw breaks a rule of the space; another draw may keep it."""


def compile_space(raw: Mapping[str, Any], source: str) -> Section:
    """Read and check the `space:` part of a search file.

    Args:
        raw: the mapping as YAML gives it.
        source: file name for messages.

    Raises:
        UsageError: unknown keys, impossible ranges, values that a configuration would refuse, rules that nothing can
            keep; all problems in one message.
    """
    problems: list[str] = []
    plain = {key: value for key, value in raw.items() if key != "rules"}
    tree = _section(plain, TrialConfig, f"{source}: space", problems)
    for sample in _probes(tree):
        problems += _refusals(sample, source)
    if not problems:  # a rule about a key with a mistake would only be another line about that key
        tree = replace(tree, rules=_rules(raw.get("rules", []), tree, source, problems))
    if not problems:
        problems += _nothing_left(tree, source)
    if problems:
        raise UsageError("\n".join(dict.fromkeys(problems)))
    return tree


def _rules(written: object, tree: Section, source: str, problems: list[str]) -> tuple[Rule, ...]:
    where = f"{source}: space.rules"
    possible = {parameter.key: parameter.values for parameter in parameters(tree)}
    parsed = rules.parse(written, possible, where, problems)
    for key, name in (pair for rule in parsed for pair in rule.names):
        sample: Any = name
        for part in reversed(key.split(".")):
            sample = {part: sample}
        problems += [line.replace(": space.", ": space.rules: ", 1) for line in _refusals(sample, source)]
    return parsed


def _nothing_left(tree: Section, source: str) -> list[str]:
    """A problem if none of many draws keeps all rules."""
    rng, broken = random.Random(0), Counter[str]()  # noqa: S311 (no secret)
    for _ in range(MAX_DRAWS):
        try:
            suggest(tree, at_random(tree, rng))
        except BrokenRuleError as error:
            broken[str(error)] += 1
        else:
            return []
    rule = f"must leave something to draw, got nothing in {MAX_DRAWS} draws"
    return [f"{source}: space.rules: {rule}; loosen one, most often {broken.most_common(1)[0][0]}"]


def _section(raw: Mapping[Any, Any], owner: type[BaseModel] | None, where: str, problems: list[str]) -> Section:
    """What is sound of a mapping: a key with a problem is left out, so that the others can still be tried."""
    children = {str(key): _node(value, owner, str(key), f"{where}.{key}", problems) for key, value in raw.items()}
    return Section({key: node for key, node in children.items() if node})


def _node(value: object, owner: type[BaseModel] | None, key: str, where: str, problems: list[str]) -> Node | None:
    kind = choice_kind(owner, key)
    if kind:
        node = _branches(value, kind, where, problems)
        if kind == TASK_CHOICES.kind and isinstance(node, Branches):
            _check_task(node, value, where, problems)
        return node
    inner = section_model(owner, key)
    if inner and not isinstance(value, Mapping):
        problems.append(problem(where, "must be a mapping", value, f"its keys: {', '.join(inner.model_fields)}"))
        return None
    if isinstance(value, Mapping) and (inner or not {"float", "int"} & set(value)):
        return _section(value, inner, where, problems)
    if isinstance(value, list):
        listed = ranges.options(value, where, problems)
        return Draw(listed) if listed and len(value) > 1 else Fixed(value[0]) if listed else None
    if isinstance(value, Mapping):
        drawn = ranges.interval(value, where, problems)
        return Draw(drawn) if drawn else None
    return Fixed(value)


def _check_task(node: Branches, value: object, where: str, problems: list[str]) -> None:
    """Scores of different tasks cannot be compared, so that a search has one."""
    drawn = any(
        not isinstance(child, Fixed) for section in node.children.values() for child in section.children.values()
    )
    if len(node.children) > 1 or drawn:
        rule = "must be one task with fixed parameters, the same for all trials"
        problems.append(problem(where, rule, value, "name one, and begin a study for each other"))


def choice_kind(owner: type[BaseModel] | None, key: str) -> str | None:
    """The kind of plug-ins that a key of `owner` chooses among, if it does."""
    field = owner.model_fields.get(key) if owner else None
    return next((item.kind for item in field.metadata if isinstance(item, ChoiceOf)), None) if field else None


def section_model(owner: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    """What a key's own keys are declared by, where the key is a plain section of `owner`."""
    field = owner.model_fields.get(key) if owner else None
    annotation = field.annotation if field else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


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
        yield from ranges.probes(node.distribution)
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


def _refusals(sample: dict[str, Any], source: str) -> list[str]:
    """What a configuration refuses about single values; parts that only do not fit each other are redrawn later."""
    try:
        validate(TrialConfig, sample, f"{source}: space")
    except UsageError as error:
        lines = [line.replace(f"{source}: space: ", f"{source}: space.", 1) for line in str(error).splitlines()]
        return [line for line in lines if not line.startswith(f"{source}: space.model: ")]
    return []


def suggest(tree: Section, trial: BaseTrial) -> dict[str, Any]:
    """Draw a configuration (not yet checked for parts that do not fit each other).

    Raises:
        BrokenRuleError: it breaks a rule of the space.
    """
    result = _suggest(tree, "", trial)
    assert isinstance(result, dict)  # noqa: S101 (a section gives a dict)
    broken = next((rule for rule in tree.rules if rule.broken(result)), None)
    if broken:
        raise BrokenRuleError(f"the rule {broken.text!r} is broken")
    return result


def at_random(tree: Section, rng: random.Random) -> FixedTrial:
    """A trial without a study for `suggest`, every parameter evenly drawn."""
    return FixedTrial({key: ranges.at_random(distribution, rng) for key, distribution in distributions(tree).items()})


def _suggest(node: Node, key: str, trial: BaseTrial) -> Any:
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


def _draw(distribution: BaseDistribution, key: str, trial: BaseTrial) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(key, distribution.choices)
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(key, distribution.low, distribution.high, log=distribution.log)
    assert isinstance(distribution, IntDistribution)  # noqa: S101 (the three kinds there are)
    return trial.suggest_int(key, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


@dataclass(frozen=True)
class Parameter:
    """A value of a configuration: its dotted key, what it can be, and when it is needed at all (empty: always)."""

    key: str
    node: Fixed | Draw | Branches
    when: str

    @property
    def distribution(self) -> BaseDistribution | None:
        """What it is drawn from; None where it is fixed."""
        if isinstance(self.node, Branches) and len(self.node.children) > 1:
            return CategoricalDistribution(list(self.node.children))
        return self.node.distribution if isinstance(self.node, Draw) else None

    @property
    def values(self) -> Sequence[Any]:
        """Everything it can be; of a range of floats both ends."""
        if self.distribution:
            return ranges.values(self.distribution)
        return [self.node.value] if isinstance(self.node, Fixed) else list(_names(self.node))


def _names(node: Node | None) -> Iterable[str]:
    return node.children if isinstance(node, Branches) else ()


def parameters(tree: Section) -> Iterator[Parameter]:
    """Every value that the space speaks of, in its order."""
    return _parameters(tree, "", ())


def _parameters(node: Node, key: str, when: tuple[str, ...]) -> Iterator[Parameter]:
    if not isinstance(node, Section):
        yield Parameter(key, node, " and ".join(when))
    if isinstance(node, (Fixed, Draw)):
        return
    for name, child in node.children.items():
        needed = when
        if isinstance(node, Branches) and len(node.children) > 1:
            needed = (*when, f"{key} is {name}")
        elif key == "model":
            needed = (*when, *_users(node.children.get("sequence"), name))
        yield from _parameters(child, f"{key}.{name}".lstrip("."), needed)


def _users(sequence: Node | None, name: str) -> tuple[str, ...]:
    """With which of its sequence models a space needs a key of `model`; nothing: with each."""
    models = list(_names(sequence))
    users = [model for model in models if name not in plugins.load("models.sequence", model).UNUSED]
    return () if users == models else (f"model.sequence is {' or '.join(users) or 'another'}",)


def distributions(tree: Section) -> dict[str, BaseDistribution]:
    """Every parameter that the space can draw, by dotted key."""
    return {item.key: item.distribution for item in parameters(tree) if item.distribution}


def image_sizes(tree: Section) -> list[tuple[int, int]]:
    """Every image size that the space can draw, and its teachers', so that the data is decoded once for all of them.

    Raises:
        ArtifactError: the file of a teacher cannot be read.
    """
    sizes = [ModelConfig(image_size=value).image_size for value in _values(tree, "model", "image_size")]
    sizes = sizes or [TrialConfig().model.image_size]
    teachers = [TrainingConfig(teacher=value) for value in _values(tree, "training", "teacher")]
    return [*sizes, *(size for teacher in teachers for size in teacher_sizes(teacher))]


def _values(tree: Section, section: str, name: str) -> Sequence[Any]:
    """All values that a key can have; none where the space does not name it."""
    parent = tree.children.get(section)
    node = parent.children.get(name) if isinstance(parent, Section) else None
    if node is None:
        return []
    return ranges.values(node.distribution) if isinstance(node, Draw) else list(_variations(node))


def task_of(tree: Section) -> Choice:
    """The task of all its trials."""
    node = tree.children.get("task")
    return TASK_CHOICES.parse(_first(node)) if node else TrialConfig().task


def takes_windows(tree: Section) -> bool:
    """Whether the space can draw networks that look at several frames."""
    model = tree.children.get("model")
    sequence = model.children.get("sequence") if isinstance(model, Section) else None
    return any(name != "none" for name in _names(sequence))

"""Lists and ranges of a search file as Optuna's distributions: read, spelt out, and drawn from without a study."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from whc.errors import problem


def options(values: list[Any], where: str, problems: list[str]) -> CategoricalDistribution | None:
    """A list of plain values to choose from; None if it has a problem."""
    if not values or any(isinstance(value, (list, dict)) for value in values):
        problems.append(problem(where, "must list plain values", values, "list at least one, or give a range"))
        return None
    if len(set(map(str, values))) != len(values):
        problems.append(problem(where, "must not list a value twice", values, "remove the repeats"))
        return None
    return CategoricalDistribution(values)


def interval(value: Mapping[str, Any], where: str, problems: list[str]) -> FloatDistribution | IntDistribution | None:
    """`{float: [low, high]}` or `{int: [low, high]}` and what may stand beside it; None if it has a problem."""
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
        return FloatDistribution(low, high, log=log)
    return IntDistribution(low, high, log=log, step=step)


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
    return isinstance(value, kind) and not isinstance(value, bool)


def values(distribution: BaseDistribution) -> Sequence[Any]:
    """Everything that can be drawn, in order; of a range of floats both ends."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    assert isinstance(distribution, FloatDistribution)  # noqa: S101 (the three kinds there are)
    return distribution.low, distribution.high


def probes(distribution: BaseDistribution) -> Sequence[Any]:
    """Every option, or both ends of a range."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    low, high = values(distribution)[0], values(distribution)[-1]
    # Of floats also one between, as a value that must be whole would take 4.0 and 8.0.
    return (low, high) if isinstance(distribution, IntDistribution) else (low, high, low + (high - low) / math.e)


def at_random(distribution: BaseDistribution, rng: random.Random) -> Any:
    """A value, each as likely as any other (on a log scale where the range is one)."""
    if isinstance(distribution, FloatDistribution):
        low, high = distribution.low, distribution.high
        value = math.exp(rng.uniform(math.log(low), math.log(high))) if distribution.log else rng.uniform(low, high)
        return min(max(value, low), high)
    if isinstance(distribution, IntDistribution) and distribution.log:
        return round(math.exp(rng.uniform(math.log(distribution.low), math.log(distribution.high))))
    return rng.choice(values(distribution))


def spell(distribution: BaseDistribution) -> str:
    """A distribution in words, such as `2 to 6, step 2`."""
    listed = values(distribution)
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(map(str, listed))
    assert isinstance(distribution, (FloatDistribution, IntDistribution))  # noqa: S101 (the three kinds there are)
    step = f", step {distribution.step}" if distribution.step not in (None, 1) else ""
    return f"{listed[0]:g} to {listed[-1]:g}{step}{', log' if distribution.log else ''}"

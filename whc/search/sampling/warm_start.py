"""Trials of earlier studies, as a new study's sampler learns from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from whc import records
from whc.errors import StudyError
from whc.records import StudyRecord, TrialRecord
from whc.search.space import space


def earlier_trials(names: Sequence[str], runs: Path, study: StudyRecord, tree: space.Section) -> list[TrialRecord]:
    """The ended trials of other studies that the space of `study` could have drawn.

    Their latencies are converted to the host of `study`: the ratio to the reference network, times its milliseconds
    there.

    Args:
        names: the studies.
        runs: folder of all studies.
        study: the new study.
        tree: its compiled space.

    Raises:
        StudyError: a study does not exist, is of other labels or data without any trial that fits.
    """
    trials: list[TrialRecord] = []
    for name in names:
        fitting = list(_fitting(records.trial_records(records.existing_study(runs, name)), study, tree))
        if not fitting:
            rule = "must hold ended trials that the new space could draw, got none"
            raise StudyError(f"--warm-start {name}: {rule}; leave it out")
        trials += fitting
    return trials


def _fitting(ended: Iterator[TrialRecord], study: StudyRecord, tree: space.Section) -> Iterator[TrialRecord]:
    for record in ended:
        try:
            drawn = as_drawn(tree, record.config)
        except ValueError:
            continue
        if record.latency is None or record.state in ("failed", "stopped"):
            continue
        yield record.model_copy(update={"drawn": drawn, "latency": record.latency.scaled(study.reference_ms)})


def as_drawn(tree: space.Section, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a space would have had to draw for a resolved configuration; what the space fixes is not compared.

    Raises:
        ValueError: the space cannot draw it.
    """
    drawn: dict[str, Any] = {}

    def walk(node: space.Node, value: Any, key: str) -> None:
        if isinstance(node, space.Draw):
            drawn[key] = in_range(node.distribution, value)
        elif isinstance(node, space.Section) and not isinstance(value, Mapping):
            raise ValueError(f"{key}: {value!r} is no mapping")
        elif isinstance(node, space.Branches):
            name = str(next(iter(value), "") if isinstance(value, Mapping) else value)
            if name not in node.children:
                raise ValueError(f"{key}: {name} is no choice")
            if len(node.children) > 1:
                drawn[key] = name
            walk(node.children[name], {} if isinstance(value, str) else value[name], f"{key}.{name}")
        elif isinstance(node, space.Section):
            for name, child in node.children.items():
                if name in value:  # a sequence model that brings its own head has none
                    walk(child, value[name], f"{key}.{name}".lstrip("."))

    walk(tree, config, "")
    return drawn


def in_range(distribution: BaseDistribution, value: Any) -> Any:
    """A value as a distribution would give it.

    Raises:
        ValueError: it would not.
    """
    if isinstance(distribution, CategoricalDistribution):
        same = [choice for choice in distribution.choices if choice == value or str(choice) == str(value)]
        if not same:
            raise ValueError(f"{value} is no choice")
        return same[0]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value} is no number")
    if not distribution._contains(distribution.to_internal_repr(value)):
        raise ValueError(f"{value} is out of range")
    return value

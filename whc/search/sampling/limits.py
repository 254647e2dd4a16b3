"""Configurations drawn without a study, and a check before a search that its space holds networks within the limits."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal

import torch
from optuna.trial import BaseTrial, FixedTrial
from pydantic import ValidationError

from whc.errors import StudyError, UsageError
from whc.models.assemble import build
from whc.search.space import ranges, space
from whc.search.space.summary import summary
from whc.trials import artifacts
from whc.trials.config import TrialConfig
from whc.trials.run import Limits

SAMPLE_DRAWS = 200
FLOAT_BYTES = 4

Countable = Literal["params", "size_bytes", "peak_memory_bytes"]
COUNTABLE_LIMITS: tuple[Countable, ...] = ("params", "size_bytes", "peak_memory_bytes")


def given(limits: Limits) -> list[Countable]:
    """The limits that are set, of those that need no measuring."""
    return [name for name in COUNTABLE_LIMITS if getattr(limits, name) is not None]


@dataclass(frozen=True)
class Sample:
    """A configuration that can be built, what was drawn for it, and the outputs that its network has."""

    config: TrialConfig
    drawn: dict[str, Any]
    outputs: int

    @cached_property
    def params(self) -> int:
        """Weights of the network."""
        return sum(weights.numel() for weights in self._weights)

    @cached_property
    def size_bytes(self) -> int:
        """Lower bound of the size of the exported file: its matrices and kernels; the rest is folded into them."""
        return FLOAT_BYTES * sum(weights.numel() for weights in self._weights if weights.dim() > 1)

    @cached_property
    def peak_memory_bytes(self) -> int:
        """What its training takes."""
        return artifacts.peak_memory_bytes(self.config, self.outputs)

    @cached_property
    def _weights(self) -> list[torch.nn.Parameter]:
        with torch.device("meta"):
            return list(build(self.config.model, self.outputs).parameters())

    def over(self, limits: Limits) -> list[Countable]:
        """The limits that the network breaks, of those that need no measuring."""
        return [name for name in given(limits) if getattr(self, name) > getattr(limits, name)]


def samples(tree: space.Section, labels: Sequence[str] | None, seed: int = 0) -> Iterator[Sample]:
    """Configurations drawn evenly from a space, without end, the same for the same seed.

    Args:
        tree: the space.
        labels: those of the data; None while it is not known.
        seed: of the draws.

    Raises:
        StudyError: hardly anything that the space draws can be built.
    """
    rng = random.Random(seed)  # noqa: S311 (no secret)
    while True:
        reason = ""
        for _ in range(SAMPLE_DRAWS):
            try:
                sample = _sample(tree, labels, space.at_random(tree, rng))
            except ValueError as error:
                reason = _first_line(error)
            else:
                yield sample
                break
        else:
            raise StudyError(f"space: must hold networks that can be built, got none in {SAMPLE_DRAWS} draws; {reason}")


def _sample(tree: space.Section, labels: Sequence[str] | None, trial: BaseTrial) -> Sample:
    """Raises ValueError where the parts do not fit each other, a rule is broken, or the trial lacks a value."""
    config = TrialConfig.model_validate(space.suggest(tree, trial))
    return Sample(config, dict(trial.params), config.task_for(labels).outputs)


def _first_line(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    return str(error)


def check_limits(tree: space.Section, labels: Sequence[str] | None, limits: Limits, source: str) -> None:
    """Refuse limits on weights, size and memory that nothing in a space keeps, as far as some hundred draws can tell.

    Args:
        tree: the space.
        labels: those of the data; None while it is not known.
        limits: all but that on latency, which must be measured.
        source: file name for messages.

    Raises:
        UsageError: a line for each limit with its value and the nearest miss.
        StudyError: hardly anything that the space draws can be built.
    """
    nearest: dict[Countable, Sample] = {}
    kept: set[Countable] = set()
    wanted = set(given(limits))
    for sample in islice(samples(tree, labels), SAMPLE_DRAWS if wanted else 0):
        over = sample.over(limits)
        kept |= wanted.difference(over)
        for name in over:
            nearest[name] = min(sample, nearest.get(name, sample), key=lambda candidate: int(getattr(candidate, name)))
        if kept == wanted:
            return
    problems = [
        _problem(name, best, limits, source)
        for name in sorted(wanted - kept)
        if name in (best := _smallest(tree, labels, name, nearest[name])).over(limits)
    ]
    if problems:
        raise UsageError("\n".join(problems))


def _problem(name: Countable, best: Sample, limits: Limits, source: str) -> str:
    rule = f"must be kept by a network of the space, got {getattr(limits, name)}"
    nearest = f"the smallest found has {getattr(best, name)} ({summary(best.config.resolved())})"
    return f"{source}: limits.{name}: {rule}; {nearest}: raise the limit, or let smaller ones be drawn"


def _smallest(tree: space.Section, labels: Sequence[str] | None, name: Countable, best: Sample) -> Sample:
    """From a sample on to smaller ones, one parameter at a time, until none of the steps helps."""
    before = None
    distributions = space.distributions(tree)
    while best is not before:
        before = best
        for key in (key for key in best.drawn if key.startswith("model.") or key == "training.batch_size"):
            for value in ranges.probes(distributions[key]):
                # Another choice may have parameters of its own: they take their first value.
                rest = {other: ranges.probes(distribution)[0] for other, distribution in distributions.items()}
                try:
                    smaller = _sample(tree, labels, FixedTrial({**rest, **best.drawn, key: value}))
                except ValueError:
                    continue
                best = min(best, smaller, key=lambda sample: int(getattr(sample, name)))
    return best

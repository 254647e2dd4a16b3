"""What a search would do, without doing it: its parameters, some of its configurations, and what they would cost."""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from statistics import fmean
from typing import Any

import torch
from optuna.distributions import distribution_to_json

from whc.data.dataset import Corpus
from whc.data.windows import windows
from whc.search.running.study import SearchFile
from whc.search.sampling.limits import Sample, check_limits, given, samples
from whc.search.space import space
from whc.search.space.space import Parameter
from whc.search.space.summary import summary
from whc.training.loop import Trainer
from whc.trials.config import TrialConfig
from whc.trials.learning import trainer

SHOWN_SAMPLES, COUNTED_SAMPLES, TIMED_SAMPLES = 5, 64, 5
TIMED_IMAGES, TIMED_SECONDS = 1024, 2.0
FORWARD_SHARE = 1 / 3  # of a training step's time; validation needs the forward pass alone


@dataclass(frozen=True)
class Cost:
    """What training all trials to their end would take: an estimate from `timed` networks, on one thread each.

    Trials that a limit ends take less; the search file's own `minutes` are the most it can be.
    `trial_seconds` and `images_per_second` are the least and the most among them; `rows` are trained on each epoch.
    """

    minutes: float
    trial_seconds: tuple[float, float]
    images_per_second: tuple[float, float]
    timed: int
    rows: int
    trials: int
    workers: int


@dataclass(frozen=True)
class Preview:
    """What a search would do.

    `over` counts, of `counted` samples, those over each limit that needs no measuring; `cost` is None without data.
    """

    name: str
    parameters: list[Parameter]
    fixed: int
    samples: list[Sample]
    counted: int
    over: dict[str, int]
    cost: Cost | None

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        drawn = [
            {"key": parameter.key, "when": parameter.when, **json.loads(distribution_to_json(parameter.distribution))}
            for parameter in self.parameters
            if parameter.distribution
        ]
        shown = [
            {
                "summary": describe(sample),
                "params": sample.params,
                "drawn": sample.drawn,
                "config": sample.config.resolved(),
            }
            for sample in self.samples
        ]
        cost = asdict(self.cost) if self.cost else None
        preview = {"name": self.name, "parameters": drawn, "fixed": self.fixed, "samples": shown}
        return {**preview, "counted": self.counted, "over": self.over, "cost": cost}


def preview(
    settings: SearchFile, tree: space.Section, source: str, corpus: Corpus | None = None, trials: int | None = None
) -> Preview:
    """Look at a search before it runs.

    Args:
        settings: the search file.
        tree: its space.
        source: the file's name for messages.
        corpus: the decoded data, on which training is timed; None: no cost is estimated.
        trials: in place of the search file's.

    Raises:
        UsageError: no network of the space keeps a limit.
        StudyError: hardly anything that the space draws can be built.
        DataError: the data cannot be what a sampled network trains on.
    """
    labels = corpus.labels if corpus else None
    check_limits(tree, labels, settings.limits, source)
    sampled = list(islice(samples(tree, labels, settings.seed), COUNTED_SAMPLES))
    over = Counter(name for sample in sampled for name in sample.over(settings.limits))
    listed = list(space.parameters(tree))
    parameters = [parameter for parameter in listed if parameter.distribution]
    return Preview(
        name=settings.name,
        parameters=parameters,
        fixed=len(listed) - len(parameters),
        samples=sampled[:SHOWN_SAMPLES],
        counted=COUNTED_SAMPLES,
        over={name: over[name] for name in given(settings.limits)},
        cost=_cost(settings, sampled[:TIMED_SAMPLES], corpus, trials or settings.trials) if corpus else None,
    )


def describe(sample: Sample) -> str:
    """A sample in a line: the network, its weights, and what was drawn for its training."""
    choices = {key.rpartition(".")[2]: value for key, value in sample.drawn.items() if key.startswith("training.")}
    described = (
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in choices.items()
    )
    training = ", ".join(described)
    network = f"{summary(sample.config.resolved())}, {sample.params:,} weights"
    return f"{network}; {training}" if training else network


def _cost(settings: SearchFile, timed: Sequence[Sample], corpus: Corpus, trials: int) -> Cost:
    workers = settings.workers or os.cpu_count() or 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a trial trains
    try:
        runs = [_timed(sample.config, corpus) for sample in timed]
    finally:
        torch.set_num_threads(threads)
    seconds = [run.seconds for run in runs]
    paces = [run.images_per_second for run in runs]
    return Cost(
        minutes=min(fmean(seconds) * trials / min(workers, trials) / 60, settings.minutes or math.inf),
        trial_seconds=(min(seconds), max(seconds)),
        images_per_second=(min(paces), max(paces)),
        timed=len(timed),
        rows=max(run.rows for run in runs),
        trials=trials,
        workers=workers,
    )


@dataclass(frozen=True)
class _TimedTraining:
    """A trial's pace, the windows of one epoch, and the seconds that all its epochs would take."""

    images_per_second: float
    rows: int
    seconds: float


def _timed(config: TrialConfig, corpus: Corpus) -> _TimedTraining:
    training = trainer(config, corpus)
    _pace(training, 1, 0)  # the first step takes long
    pace = _pace(training, TIMED_IMAGES, TIMED_SECONDS)
    validated = len(windows(corpus, "val", config.model.frames).index)
    images = training.images + FORWARD_SHARE * validated
    return _TimedTraining(pace, training.images, config.training.epochs * images / pace)


class _EnoughError(Exception):
    """Ends an epoch early."""


def _pace(training: Trainer, images: int, seconds: float) -> float:
    """Images a second, measured from the start of an epoch for so many images or so many seconds."""
    start, done = time.perf_counter(), 0

    def on_images(count: int) -> None:
        nonlocal done
        done += count
        if done >= images or time.perf_counter() - start >= seconds:
            raise _EnoughError

    with suppress(_EnoughError):
        next(training.epochs(on_images))
    return done / (time.perf_counter() - start)

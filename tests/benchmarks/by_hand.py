"""The best of what one wires by hand: Ray Tune, OptunaSearch with two metrics, GPSampler, the logarithm of latency.

Of seven such ways, test_search.py named this one. Every trial trains to its end. The same space, trainer, data sharing
and workers as ours; latency is timed by each trial after its training.
Run as `python by_hand.py SPACE DATA MINUTES SEED OUT`; writes what each trial found, and when, to OUT as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.samplers import GPSampler

from whc import tasks
from whc.data.dataset import Corpus, load
from whc.runtimes import onnxruntime_cpu
from whc.search.running import study as studies
from whc.search.space import space
from whc.training.checkpoint import Checkpoint
from whc.trials import cluster
from whc.trials.artifacts import export
from whc.trials.config import TrialConfig
from whc.trials.learning import trainer

LOOPS = 100
FOUND = ("val_score", "file")


def trainable(drawn: dict[str, Any], corpus: Corpus, tree: space.Section, folder: str) -> None:
    """Train, export, and time with a loop, as is done."""
    from ray import tune

    torch.set_num_threads(1)
    config = TrialConfig.model_validate(space.suggest(tree, optuna.trial.FixedTrial(drawn)))
    training = trainer(config, corpus)
    for _ in training.epochs():
        pass
    best = training.best
    assert best is not None
    training.scored.load_state_dict(best.weights)
    path = Path(folder) / f"{tune.get_context().get_trial_id()}.onnx"
    origin = Checkpoint(config.resolved(), {}, list(corpus.labels), None, corpus.fingerprint, "", 0, 0.0)
    export(config, training.scored.eval(), origin, path)
    session = onnxruntime_cpu.load(path, onnxruntime_cpu.Config())
    images = np.random.default_rng(0).random((1, *config.model.input_shape), np.float32)
    times = []
    for _ in range(LOOPS):
        start = time.perf_counter()
        session.run(images)
        times.append(time.perf_counter() - start)
    found = {"val_score": best.val_score, "log_latency": log(np.median(times)), "file": path.name}
    tune.report({**found, "at": time.time()})


def define(tree: space.Section, trial: optuna.Trial) -> None:
    """Draw a configuration of the space."""
    space.suggest(tree, trial)


def main() -> None:
    """Search for so many minutes."""
    path, data, minutes, seed, out = sys.argv[1:]
    settings, tree = studies.read(Path(path))
    corpus = load(Path(data), space.image_sizes(tree), tasks.kind(space.task_of(tree).name))
    workers = settings.workers or 2
    start = time.time()  # as in ours: the cluster's start counts
    with cluster.started(workers, corpus.nbytes):
        from ray import tune
        from ray.tune.search.optuna import OptunaSearch

        folder = Path(out).resolve().parent
        search = OptunaSearch(
            space=partial(define, tree), metric=["val_score", "log_latency"], mode=["max", "min"],
            sampler=GPSampler(seed=int(seed)),
        )  # fmt: skip
        results = tune.Tuner(
            tune.with_parameters(trainable, corpus=corpus, tree=tree, folder=str(folder)),
            tune_config=tune.TuneConfig(
                search_alg=search, num_samples=-1, time_budget_s=60 * float(minutes),
                max_concurrent_trials=workers, reuse_actors=True,
            ),
            run_config=tune.RunConfig(name="by_hand", storage_path=str(folder / "ray"), verbose=0),
        ).fit()  # fmt: skip
    for error in results.errors[:1]:
        print(error, file=sys.stderr)
    ended = [one.metrics for one in results if one.metrics and "val_score" in one.metrics]
    rows = [{**{key: one[key] for key in FOUND}, "seconds": one["at"] - start} for one in ended]
    Path(out).write_text(json.dumps(rows))


if __name__ == "__main__":
    main()

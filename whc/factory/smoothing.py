"""How the decisions of a variant are smoothed over time: what the validation clips choose, and the file carries.

The outputs for the validation clips are played as one stream, a *reel*: clips of the same truth one after another for
RUN_S, then of another truth. Each combination of the recipe's values gives states, which are worth

    balanced accuracy by frame - FLICKER_S * superfluous changes / seconds

where a frame before the first state is wrong, and changes are superfluous that are more than the truth has. So a wrong
change costs as much as FLICKER_S of wrong states, and a delay what it lasts. Of equal combinations the first is chosen,
which follows soonest.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whc import plugins
from whc.data.dataset import Corpus
from whc.data.windows import windows
from whc.export.metadata import rewrite
from whc.factory.front import Exported
from whc.factory.recipe import SmoothingValues
from whc.runtimes import choose_for
from whc.tasks import Outputs, Task
from whc.tasks.smoothing import Smoothing, State, Votes

RUN_S = 5.0
FLICKER_S = 0.5
REEL_FRAMES = 3000

Truth = NDArray[np.int64]
"""(N, Q): the right votes of each frame."""


def carry(path: Path, exported: Exported, corpus: Corpus, values: SmoothingValues) -> None:
    """Write the smoothing that validation clips choose into a candidate's file, if its task decides anything."""
    task = exported.config.task_for(corpus.labels)
    split = windows(corpus, "val", exported.config.model.frames)
    truth = task.true_votes(split.targets)
    if not truth.shape[1]:
        return
    clips, rate = _clips(corpus, split.index[:, -1]), corpus.frame_rate
    smoothing = Smoothing()
    if clips and rate:
        frames = _reel(clips, truth, rate)
        smoothing = choose(task, exported.val_outputs[frames], truth[frames], rate, values)
    runtime = choose_for([path])
    metadata = plugins.load("runtimes", runtime.name).load(path, runtime.config).metadata()
    task_config = metadata.task_config | {"smoothing": asdict(smoothing)}
    rewrite(path, metadata.model_copy(update={"task_config": task_config}))


def choose(task: Task, outputs: Outputs, truth: Truth, rate: float, values: SmoothingValues) -> Smoothing:
    """The combination whose states are worth most on a stream: outputs (N, ...), `rate` a second, and their truth."""
    combinations = sorted(values.combined, key=lambda each: max(each.short_s, each.long_s / 2))
    votes = {hysteresis: _votes(task, outputs, hysteresis) for hysteresis in values.hysteresis}
    worths = [worth(_states(votes[each.hysteresis], rate, each), truth, rate) for each in combinations]
    return combinations[int(np.argmax(worths))]


def worth(states: NDArray[np.int64], truth: Truth, rate: float) -> float:
    """What states (N, Q) are worth, -1 where there is none yet; the mean over the questions."""
    worths = []
    for state, real in zip(states.T, truth.T, strict=True):
        right = [float((state[real == option] == option).mean()) for option in np.unique(real)]
        changes = [int((np.diff(each[each >= 0]) != 0).sum()) for each in (state, real)]
        superfluous = max(0, changes[0] - changes[1])
        worths.append(float(np.mean(right)) - FLICKER_S * superfluous * rate / len(real))
    return float(np.mean(worths))


def _votes(task: Task, outputs: Outputs, hysteresis: float) -> list[Votes]:
    found: list[Votes] = [()]
    for output in outputs:
        found.append(task.votes(np.asarray(output), hysteresis, found[-1]))
    return found[1:]


def _states(votes: list[Votes], rate: float, smoothing: Smoothing) -> NDArray[np.int64]:
    states = [State(smoothing) for _ in votes[0]]
    found = np.full((len(votes), len(states)), -1, np.int64)
    for frame, each in enumerate(votes):
        for question, (state, vote) in enumerate(zip(states, each, strict=True)):
            state.vote(vote, frame / rate)
            found[frame, question] = -1 if state.option is None else state.option
    return found


def _clips(corpus: Corpus, ends: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The places of each clip's windows among all that end at rows, in order of time; of clips with several."""
    order = np.lexsort((corpus.timestamps[ends], corpus.clips[ends]))
    borders = np.flatnonzero(np.diff(corpus.clips[ends][order])) + 1
    return [clip for clip in np.split(order, borders) if len(clip) > 1]


def _reel(clips: list[NDArray[np.int64]], truth: Truth, rate: float) -> NDArray[np.int64]:
    """Places of windows, REEL_FRAMES or more; clips are taken at random, and their truth is that of the first frame."""
    rng = np.random.default_rng(0)
    by_truth: dict[tuple[int, ...], list[NDArray[np.int64]]] = {}
    for clip in clips:
        by_truth.setdefault(tuple(truth[clip[0]].tolist()), []).append(clip)
    reel: list[NDArray[np.int64]] = []
    total, kinds = 0, sorted(by_truth)
    while total < REEL_FRAMES:
        for kind in rng.permutation(len(kinds)).tolist():
            run = 0
            while run < RUN_S * rate:
                clip = by_truth[kinds[kind]][rng.integers(len(by_truth[kinds[kind]]))]
                reel.append(clip)
                run += len(clip)
            total += run
    return np.concatenate(reel)

"""A search from start to end: data decoded once, Ray Tune around the driver, resumable at any moment."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from threadpoolctl import threadpool_limits

from whc import records, tasks
from whc.config import validate
from whc.data import dataset
from whc.data.dataset import Corpus
from whc.data.windows import windows
from whc.errors import StudyError, UsageError, problem
from whc.latency import idle
from whc.latency.bench import bench
from whc.latency.timer import place_of
from whc.latency.timer.client import RemoteTimer
from whc.latency.timing import REFERENCE_NAME, Protocol
from whc.records import SearchObserver, StudyRecord, TimerRecord, TrialRecord
from whc.search.running.driver import Driver
from whc.search.running.study import SearchFile, begin, check_same
from whc.search.sampling.limits import check_limits
from whc.search.sampling.plan import FIRST_TRIALS
from whc.search.sampling.warm_start import earlier_trials
from whc.search.space import space
from whc.search.space.summary import summary
from whc.trials import cluster, cluster_timer, dispatch
from whc.trials.artifacts import check_labels
from whc.trials.cluster_timer import ClusterTimer
from whc.trials.learning import check_teacher
from whc.trials.run import Limits
from whc.trials.storage import Storage
from whc.words import quantity


@dataclass(frozen=True)
class SearchOutcome:
    """How a search ended. `complete` is False when it was interrupted before all trials had ended."""

    study: StudyRecord
    folder: Path
    records: list[TrialRecord]
    complete: bool


@dataclass(frozen=True)
class Request:
    """What to search: a new study from `settings` and `data`, or with `resume` the study `name` as it was begun.

    With `resume`, `settings` may be None and `data` empty; what is given must agree with the study. `trials` and
    `minutes` override the study's. A new study's sampler learns from the studies named in `warm_start` first, and takes
    what is less than `min_over_floor` above the best constant answer for useless. `address` is that of a Ray cluster to
    work on, None for this machine alone. `timer` measures latency; None: nodes of the cluster with the resource
    `whc_timer` do, or without such nodes the trials' workers.
    """

    name: str
    runs: Path
    settings: SearchFile | None
    data: Sequence[Path]
    resume: bool
    trials: int | None = None
    minutes: float | None = None
    warm_start: tuple[str, ...] = ()
    min_over_floor: float = 0.0
    storage: str | None = None
    address: str | None = None
    timer: RemoteTimer | ClusterTimer | None = None

    def over(self, study: StudyRecord) -> StudyRecord:
        """The study with what is asked for here in place of its own."""
        asked = {
            "trials": self.trials,
            "minutes": self.minutes,
            "warm_start": list(self.warm_start),
            "storage": self.storage,
            "timer": self.timer and _recorded(self.timer),
        }
        return study.model_copy(update={name: value for name, value in asked.items() if value})


def search(
    request: Request,
    observers: Sequence[SearchObserver],
    console: Console,
    on_decoding: Callable[[int, int], None] | None = None,
) -> SearchOutcome:
    """Run a search, or the rest of one.

    Raises:
        StudyError: the name is taken or in use, or the study to resume is of another space or data set.
        DataError: the data cannot be used.
    """
    folder = records.study_folder(request.runs, request.name)
    if request.resume:
        records.existing_study(request.runs, request.name)
    elif (folder / "study.yaml").exists():
        raise StudyError(
            problem(
                str(folder), "a new study's name must be free", request.name, "add --resume, or choose another --study"
            )
        )
    with (
        _held(folder),
        cluster.joined(request.address) if request.address else nullcontext(None) as cores,
    ):
        if cores:
            request = replace(request, timer=_timer_on_cluster(request, folder))
        study, tree, corpus = _prepare(request, folder, console, on_decoding)
        study = study.model_copy(update={"workers": cores or study.workers})
        if corpus.unreadable:
            console.print(
                f"{quantity(len(corpus.unreadable), 'unreadable image')} left out, first {corpus.unreadable[0]}"
            )
        if space.takes_windows(tree):
            console.print(corpus.clip_rule, soft_wrap=True)
        driver = Driver(study, folder, tree, observers, request.timer)
        driver.start()
        try:
            if not driver.over:
                next_step = f"`whc search --resume --study {study.study}`"
                with nullcontext() if cores else cluster.started(study.workers, corpus.nbytes, next_step):
                    _tune(driver, corpus, study.workers)
        finally:
            driver.finish()
        if driver.halted:
            raise driver.halted
        if driver.nearest_miss:
            raise _unmet(study, driver.nearest_miss)
        ended = list(driver.records.values())
        return SearchOutcome(study, folder, ended, complete=driver.complete)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """A study's folder for this process alone. Where no study has begun in it by the end, nothing of it is left."""
    folder.mkdir(parents=True, exist_ok=True)
    with records.locked(folder):
        try:
            yield
        finally:
            if not (folder / "study.yaml").exists():
                (folder / "lock").unlink(missing_ok=True)
                with suppress(OSError):  # something else lies there
                    folder.rmdir()


def _recorded(timer: RemoteTimer | ClusterTimer) -> TimerRecord:
    return TimerRecord(address=timer.address if isinstance(timer, RemoteTimer) else "", runtime=timer.place.settings)


def _timer_on_cluster(request: Request, folder: Path) -> RemoteTimer | ClusterTimer | None:
    """The timer that was asked for, else that of the cluster.

    Raises:
        UsageError: only one of its nodes reaches the timer.
    """
    timer = request.timer
    if timer is None:
        runtime = request.settings.runtime if request.settings else StudyRecord.load(folder).chosen_runtime
        return cluster_timer.find(runtime)
    if isinstance(timer, RemoteTimer) and timer.is_local and cluster.several_nodes():
        rule, next_step = "must be an address that every node reaches", "start the timer with --host ADDRESS"
        raise UsageError(problem("--time-on", rule, timer.address, next_step))
    return timer


def _check_storage(study: StudyRecord) -> None:
    """Raises UsageError where workers would have no way to leave their trials."""
    if study.storage:
        Storage(study.storage, study.study).check()
    elif cluster.several_nodes():
        rule = "required where the cluster has several nodes"
        raise UsageError(
            problem("--storage", rule, None, "give a folder that all of them mount, or s3://bucket/folder")
        )


def _unmet(study: StudyRecord, nearest: TrialRecord) -> StudyError:
    """The error of a search none of whose first trials keeps the limits."""
    assert nearest.latency is not None  # noqa: S101 (it is over a limit: it was measured)
    rule = f"must be kept by networks of the space, got {study.limits}"
    missed = f"{nearest.reason} ({summary(nearest.config)}, {nearest.latency.ms:.4f} ms)"
    next_step = "start a new study with higher limits, or let smaller networks be drawn"
    return StudyError(f"{study.study}: limits: {rule}; of {FIRST_TRIALS} trials the nearest is {missed}: {next_step}")


def _prepare(
    request: Request, folder: Path, console: Console, on_decoding: Callable[[int, int], None] | None
) -> tuple[StudyRecord, space.Section, Corpus]:
    """The study's record (new, or as it was begun), its space, and its data decoded."""
    if request.resume:
        study = _begun(request, folder)
        tree = space.compile_space(study.space, str(folder / "study.yaml"))
        corpus = _load(request.data or study.data_paths(folder), tree, on_decoding)
        check_same(study, request.settings, corpus.fingerprint)
        study = request.over(study).model_copy(update={"labels": list(corpus.labels)})
        _check_storage(study)
        study.save(folder)
        return study, tree, corpus
    settings, data = request.settings, request.data
    assert settings is not None and data  # noqa: S101 (a new study has both)
    tree = space.compile_space(settings.space, settings.name)
    corpus = _load(data, tree, on_decoding)
    check_limits(tree, corpus.labels, settings.limits, settings.name)
    for training in space.teachings(tree):
        check_teacher(training, space.task_of(tree), corpus.labels)
    task = tasks.build(space.task_of(tree), corpus.labels)
    check_labels(task, space.task_of(tree).name)
    facts = {
        "data_fingerprint": corpus.fingerprint,
        "reference_ms": _reference_ms(settings, request, console),
        "host": place_of(settings.runtime, request.timer).host,
        "metric": task.metric,
        "labels": list(corpus.labels),
        "floor": task.floor(windows(corpus, "val", 1).targets),
        "min_over_floor": request.min_over_floor,
    }
    study = request.over(begin(settings, request.name, [records.data_name(path, folder) for path in data], facts))
    _check_storage(study)
    # Before the study exists: raises what is wrong with the studies to learn from.
    earlier_trials(study.warm_start, request.runs, study, tree)
    study.save(folder)
    return study, tree, corpus


def _load(data: Sequence[Path], tree: space.Section, on_decoding: Callable[[int, int], None] | None) -> Corpus:
    return dataset.load(data, space.image_sizes(tree), tasks.kind(space.task_of(tree).name), on_decoding)


def _reference_ms(settings: SearchFile, request: Request, console: Console) -> float:
    """Milliseconds of the reference network where networks are timed, if idle; prints a line when it is busy now."""
    where, timer = "this machine", request.timer
    if timer:
        where = f"the timer {_recorded(timer).address}".rstrip()
        timer = timer.telling(lambda reason: console.print(reason or f"{where} is back", soft_wrap=True))
    session = bench({}, settings.runtime, Protocol(), timer=timer)
    idle_ms = idle.learn(session, place_of(settings.runtime, timer), request.runs / ".latency")
    now_ms = session[REFERENCE_NAME].p50_ms
    if session[REFERENCE_NAME].noisy or now_ms > idle.MAX_IDLE_RATIO * idle_ms:
        console.print(
            f"{where} is busy: the reference network takes {now_ms:.4f} ms now and {idle_ms:.4f} ms when it is "
            "idle; latencies are ratios to it, times the latter",
            soft_wrap=True,
        )
    return idle_ms


def _begun(request: Request, folder: Path) -> StudyRecord:
    """The record of a study to resume, with which the driver can go on.

    Raises:
        UsageError: it is damaged.
        StudyError: it names a storage that is not asked for here: what is there may be somebody else's.
    """
    path = folder / "study.yaml"
    study = StudyRecord.load(folder)
    validate(Limits, study.limits, f"{path}: limits")
    if study.storage and not request.storage:
        rule = "must be named again, as trials are stored there and remains of broken ones removed"
        raise StudyError(problem(f"{path}: storage", rule, study.storage, f"add --storage {study.storage}"))
    _check_timer(study, request.timer)
    return study


def _check_timer(study: StudyRecord, timer: RemoteTimer | ClusterTimer | None) -> None:
    """Raises StudyError unless networks are timed where the study began to; the user names the device each time.

    A token is not sent to an address that only a file names.
    """
    began, where = study.timer, f"{study.study}: timer"
    if began and timer is None:
        option = f"--time-on {began.address}" if began.address else "the --address of that cluster"
        raise StudyError(problem(where, f"must be named again, as it times on {study.host}", None, f"add {option}"))
    if timer is None:
        return
    now = f"{timer.place.settings} on {timer.place.host}"
    expected = f"{began.runtime if began else study.runtime} on {study.host}"
    if not began or now != expected:
        rule = f"must be the one that it began with ({expected if began else 'none'})"
        next_step = "start that one with the same options" if began else "go on without one"
        raise StudyError(f"{where}: {rule}, got {now}; {next_step}, or start a new study")


def _tune(driver: Driver, corpus: Corpus, workers: int) -> None:
    """Let Ray Tune run the driver's trials. Its own folder is scratch: a resumed search starts from the records."""
    from ray import tune

    from whc.search.running.ray_bridge import Bridge, ProgressCallback

    # The driver reports a worker that died, in a line; Ray would print a traceback.
    for name in ("ray.tune.execution.tune_controller", "ray.tune.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    driver.packing = dispatch.packing(corpus)
    work = tune.with_parameters(dispatch.trainable, corpus=corpus)
    # One thread for the sampler's matrices: workers need the cores, and threads that wait for each other are slow.
    with threadpool_limits(1), tempfile.TemporaryDirectory(prefix="whc-ray-", ignore_cleanup_errors=True) as scratch:
        tune.Tuner(
            tune.with_resources(work, dispatch.resources) if driver.packing.gpu_bytes else work,
            tune_config=tune.TuneConfig(
                search_alg=Bridge(driver),
                num_samples=-1,  # until the driver says that nothing is left
                max_concurrent_trials=workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune", storage_path=scratch, verbose=0, callbacks=[ProgressCallback(driver)]
            ),
        ).fit()

"""Options and output that several commands share."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from whc.demo.detectors import Detector
    from whc.demo.model import LoadedModel
    from whc.factory.measuring import Load
    from whc.factory.scoring import Model
    from whc.latency.timer.client import RemoteTimer
    from whc.plugins import Choice
    from whc.records import Gate, ModelMetadata
    from whc.registry.location import Location
    from whc.tasks import Task

Function = TypeVar("Function", bound=Callable[..., object])

as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else, on stdout.")
runs = click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    envvar="WHC_RUNS",
    show_default=True,
    help="Folder that holds the studies.",
)
_TRACKING_URI = "whc.tracking_uri"  # keys of what a command keeps in its context
_LOCATION = "whc.location"


def _keep_tracking_uri(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    del param
    ctx.meta[_TRACKING_URI] = value


tracking_uri = click.option(
    "--tracking-uri",
    metavar="URI|environment",
    expose_value=False,
    callback=_keep_tracking_uri,
    help="Registry: an MLflow server (http://HOST:PORT), a database (postgresql://USER:PASSWORD@HOST/NAME), or what "
    "MLFLOW_TRACKING_URI names (environment).  [default: that of mlflow/server.yaml]",
)
scored_split = click.option(
    "--split", help="Take this split of the data, or all rows with `all`.  [default: val, or all rows if there is none]"
)
threads = click.option(
    "--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Threads of one forward pass."
)


Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _matching(names: Iterable[str], incomplete: str, files: bool = False) -> list[CompletionItem]:
    """Completions for a shell: the names that begin as typed; if there are none and `files` is set, files."""
    offered = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return offered if offered or not files else [CompletionItem(incomplete, type="file")]


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completions for a model: registered names, else files; without libraries that take long to import."""
    from whc.errors import WhcError
    from whc.registry.location import read_location
    from whc.registry.names import registered_names

    try:
        registered = registered_names(read_location())
    except WhcError:  # a completion cannot show errors; the command reports it when it runs
        registered = []
    return _matching(registered, incomplete, files=True)


def complete_study(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completions for a study: those in the folder of `--runs`, the newest first."""
    begun = (ctx.params.get("runs") or Path("runs")).glob("*/study.yaml")
    newest = sorted(begun, key=lambda path: path.stat().st_mtime, reverse=True)
    return _matching((path.parent.name for path in newest), incomplete)


def complete_shipped(folder: str) -> Completion:
    """A completion with the names of the YAML files in `search_spaces` or `factory`, else files."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from whc.config import shipped_names

        return _matching(shipped_names(folder), incomplete, files=True)

    return complete


class ListsByDefault(click.Group):
    """A group whose default command is `list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the default command where there is none, as in `whc studies --json`."""
        has_command = bool(args) and (not args[0].startswith("-") or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if has_command else ["list", *args])


class FiniteRange(click.FloatRange):
    """A range of numbers without NaN and infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click does."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


wait = click.option(
    "--wait",
    "wait_s",
    type=FiniteRange(0.1, 86_400),
    default=5,
    show_default=True,
    metavar="SECONDS",
    help="How long a file's first pass may take on a CPU.",
)


# Codes that move the cursor, ring the bell, or change the terminal; a tab and a line end are not among them.
_CONTROL_CODES = dict.fromkeys((*range(9), *range(11, 32), 127, *range(128, 160)), "\ufffd")


def printable(text: str) -> str:
    """Text in which a replacement character stands for each control code that a terminal would obey."""
    return text.translate(_CONTROL_CODES)


class _PluginName(click.types.StringParamType):
    """Name of a plug-in of a kind; the folder is listed only when help is shown. The command reports a wrong name."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """All the names."""
        from whc.plugins import names

        return f"[{'|'.join(names(self._kind))}]"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """All the names."""
        from whc.plugins import names

        return _matching(names(self._kind), incomplete)


runtime = click.option(
    "--runtime",
    type=_PluginName("runtimes"),
    help="What runs the file; a registered model gives the file that it reads.  [default: onnxruntime_cpu for .onnx, "
    "litert for .tflite]",
)
artifact = click.option(
    "--artifact", type=_PluginName("export"), help="Kind of file to write from a checkpoint.  [default: onnx]"
)


def file(*names: str, **settings: Any) -> Callable[[Function], Function]:
    """An option that takes a path; the command checks whether it exists, and reports it in the usual form."""
    return click.option(*names, type=click.Path(path_type=Path), **settings)


time_on = click.option(
    "--time-on",
    metavar="HOST:PORT",
    help="Measure every latency on a device, where `whc bench --serve` runs; WHC_TIMER_TOKEN is its token.",
)
token_file = file("--token-file", help="File that holds the timer's token.  [default: WHC_TIMER_TOKEN]")
task = click.option("--task", type=_PluginName("tasks"), help="What the labels are for.  [default: as the columns say]")


def task_named(name: str) -> type[Task]:
    """The task that `--task` names.

    Raises:
        UsageError: there is none of this name.
    """
    from whc import tasks
    from whc.errors import UsageError

    try:
        return tasks.kind(name)
    except ValueError as error:
        raise UsageError(f"--task: {error}") from None


settings = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one value of the checkpoint, such as task.detection.max_boxes=20, or give one that it lacks.",
)


def assigned(assignments: Sequence[str], content: dict[str, Any] | None = None) -> dict[str, Any]:
    """A configuration with the values of `--set` laid over it.

    Raises:
        UsageError: one is not KEY=VALUE.
    """
    from whc.config import overlay
    from whc.errors import UsageError, problem

    pairs = dict(item.partition("=")[::2] for item in assignments)
    for key, value in pairs.items():
        if not key or not value:
            raise UsageError(problem("--set", "must be KEY=VALUE", f"{key}={value}", "write training.lr=0.01"))
    return overlay(content or {}, pairs)


region = click.option(
    "--region", metavar="X,Y,W,H", help="Part of the picture to look at, in fractions.  [default: all of it]"
)


detect = click.option(
    "--detect",
    metavar="NAME",
    shell_complete=complete_model,
    help="Find the crops: face (OpenCV's cascades), a registered detector, or an .onnx file (a detection model of whc, "
    "YuNet, UltraFace, BlazeFace front 128).",
)
detect_class = click.option("--detect-class", metavar="LABEL", help="Class that the detector finds.  [default: all]")
margin = click.option(
    "--margin",
    metavar="SHARE[,RIGHT,DOWN]",
    help="Margin of crops on each side of a found box, and how far they lie to the right and down; shares of the box. "
    "`whc data info FILE --detect NAME` measures it.  [default: as the data was cut, or 0.2]",
)


def detector(
    name: str | None, label: str | None, margin: str | None, threads: int = 1, wait_s: float | None = None
) -> Detector | None:
    """The detector that `--detect` names; None where there is none.

    Raises:
        UsageError: `--detect-class` or `--margin` comes without a detector, or the detector is none.
        ArtifactError: the file cannot be used.
        RegistryError: there is no such file and no such model.
    """
    from whc.demo import detectors

    check_detector(name, label, margin)
    if name is None:
        return None
    source = name if name in detectors.built_in_names() else str(exported(model_file(name), "--detect", (".onnx",)))
    shown_name = Path(name).name if Path(name).suffix.lower() == ".onnx" else name
    settings = detectors.Settings(label, threads) if wait_s is None else detectors.Settings(label, threads, wait_s)
    return replace(detectors.load(source, settings), name=shown_name)


def check_detector(name: str | None, label: str | None, margin: str | None) -> None:
    """Refuse what only a detector can use where there is none.

    Raises:
        UsageError: `--detect-class` or `--margin` comes without a detector.
    """
    from whc.errors import UsageError, problem

    for option, value in (("--detect-class", label), ("--margin", margin)):
        if name is None and value is not None:
            raise UsageError(problem(option, "must come with --detect", value, "name a detector with --detect"))


def exported(path: Path, option: str, suffixes: Sequence[str] = (".onnx", ".tflite")) -> Path:
    """A path, unless it is a file of another kind, such as one that must be exported first.

    Raises:
        UsageError: it is.
    """
    from whc.errors import UsageError, problem

    suffix = path.suffix.lower()
    if suffix not in suffixes and path.is_file():
        command = shlex.join(("whc", "export", "--checkpoint", str(path), "--out", path.with_suffix(".onnx").name))
        advice = "give the ONNX file of the same model" if suffix == ".tflite" else f"run `{command}`"
        rule = f"must be a registered name, or an {' or '.join(suffixes)} file"
        raise UsageError(problem(option, rule, str(path), advice))
    return path


def _is_file(model: str) -> bool:
    from whc.paths import is_file

    return Path(model).suffix in (".onnx", ".tflite", ".pt") or is_file(Path(model))


def model_file(model: str, runtime: str | None = None) -> Path:
    """The file of a model: as given, or the one registered under that name which the runtime reads.

    Raises:
        UsageError: there is no such runtime.
        RegistryError: there is neither, or nothing that the runtime reads is registered under that name.
    """
    if _is_file(model):
        return Path(model)
    from whc.registry.models import Registry
    from whc.runtimes import choose, reads

    return Registry(location()).resolve(model, reads(choose(runtime).name) if runtime else None)


def location() -> Location:
    """The registry that a command uses: that of `--tracking-uri`, else of `mlflow/server.yaml`; read once.

    Raises:
        UsageError: the URI or the file is wrong.
    """
    from whc.registry.location import ignored_variable, read_location

    meta = click.get_current_context().meta
    if _LOCATION not in meta:
        meta[_LOCATION] = read_location(tracking_uri=meta.get(_TRACKING_URI))
        if remark := ignored_variable(meta[_LOCATION]):
            messages().print(remark, soft_wrap=True, markup=False)
    chosen: Location = meta[_LOCATION]
    return chosen


def common_folder(paths: Sequence[str]) -> tuple[str, list[str]]:
    """The folder that contains all files (empty where there is none), and each file's path in it."""
    parents = [Path(path).parent for path in paths]
    is_comparable = len({parent.is_absolute() for parent in parents}) == 1
    folder = os.path.commonpath(parents) if is_comparable else ""
    if folder in ("", ".", "/"):
        return "", list(paths)
    return folder, [str(Path(path).relative_to(folder)) for path in paths]


def shortened(text: str, room: int) -> str:
    """Text of at most `room` characters: its middle is left out, because the ends of paths differ most."""
    if len(text) <= room:
        return text
    end = (room - 1) * 2 // 3
    return f"{text[: room - 1 - end]}…{text[len(text) - end :]}"


def messages() -> Console:
    """Console for progress and remarks: stderr, so that stdout holds only results."""
    from whc.cli._console import PlainConsole

    return PlainConsole(stderr=True)


def siblings(model: str, runtime: str | None = None) -> Callable[[], list[tuple[str, Path]]] | None:
    """What lists the ladder of a registered name, fastest first, with files that the runtime reads; None for a file."""
    if _is_file(model):
        return None

    def listed() -> list[tuple[str, Path]]:
        from whc.errors import RegistryError
        from whc.registry.models import Registry

        files = []
        for variant, _ in Registry(location()).ladder(model):
            with suppress(RegistryError):  # its file is gone, or it has none of this kind
                files.append((variant.name, model_file(variant.name, runtime)))
        return files

    return listed


def emit(result: object, as_json: bool, shown: RenderableType) -> None:
    """Print a result: as JSON, or as text for people."""
    if as_json:
        click.echo(json.dumps(result, indent=1, ensure_ascii=False))
        return
    from whc.cli._console import PlainConsole

    PlainConsole().print(shown, soft_wrap=True)


@contextmanager
def progress(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for the length of the context; yields the function that updates it with (done, total)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what, markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """A spinner for the length of the context; yields the function that shows a step of the work."""
    from rich.text import Text

    console = messages()
    with console.status("starting") as status:

        def step(what: str) -> None:
            status.update(Text(what))  # as text: a spinner reads markup whatever its console does
            if not console.is_terminal:
                console.print(what, soft_wrap=True)

        yield step


def timer(address: str | None, token_file: Path | None) -> RemoteTimer | None:
    """The timer of `--time-on`; None where there is none.

    Raises:
        UsageError: the address or the token is missing or wrong.
        TimerLost: no timer answers there, or it has another token.
    """
    from whc.errors import UsageError, problem

    if address is None:
        if token_file:
            raise UsageError(problem("--token-file", "must come with --time-on", str(token_file), "name a timer"))
        return None
    from whc.latency.timer.client import connect

    token = timer_token(token_file)
    if token is None:
        next_step = "set it to what the timer printed at its start, or give --token-file"
        raise UsageError(problem("WHC_TIMER_TOKEN", "required with --time-on", None, next_step))
    return connect(address, token)


def timer_token(token_file: Path | None) -> str | None:
    """The token in a file, or in WHC_TIMER_TOKEN; None where neither is given.

    Raises:
        UsageError: the file cannot be read, or the token is none.
    """
    from whc.errors import UsageError, problem
    from whc.latency.timer.token import MIN_LENGTH, is_token

    name, text = "WHC_TIMER_TOKEN", os.environ.get("WHC_TIMER_TOKEN")
    if token_file:
        name = str(token_file)
        try:
            text = token_file.read_text(encoding="ascii", errors="replace").strip()
        except OSError as error:
            raise UsageError(
                problem("--token-file", f"must be readable ({error.strerror})", name, "check it")
            ) from error
    if text and not is_token(text):
        rule = f"must be {MIN_LENGTH} or more letters, digits, '-' and '_'"
        raise UsageError(f"{name}: {rule}, got something else; use what the timer printed, or `openssl rand -hex 32`")
    return text or None


def scored_model(
    path: Path, runtime: str | None, threads: int, wait_s: float, like: ModelMetadata | None = None
) -> LoadedModel:
    """A model that is to be scored, in batches; `like` stands in for the metadata of a file that has none of whc's.

    Raises:
        UsageError: there is no such runtime on this machine.
        ArtifactError: the file cannot be used.
    """
    from whc.demo import model as models
    from whc.factory.scoring import BATCH_WINDOWS

    return models.load(path, runtime, threads, wait_s, BATCH_WINDOWS, like)


def trusted(runtime: Choice) -> Load:
    """Loads files that whc itself exported: no process of its own tries their first pass.

    A file that the runtime does not read is loaded on the usual one for it.
    """

    def load(path: Path, like: Model | None) -> LoadedModel:
        from whc import plugins
        from whc.demo import model as models
        from whc.runtimes import suited

        del like
        choice = suited(path, runtime)
        return models.checked(plugins.load("runtimes", choice.name).load(path, choice.config))

    return load


def gates(runs: Path, on_step: Callable[[str], None]) -> Gate:
    """The gates that a ladder must pass."""
    from whc.factory.gates import Gates

    return Gates(runs, trusted, on_step)

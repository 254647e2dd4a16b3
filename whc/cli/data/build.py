"""`whc data build`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whc.cli import _options

if TYPE_CHECKING:
    from rich.console import Group

    from whc.data.build_report import BuildReport
    from whc.data.cropping import Followed
    from whc.data.sources import BuildConfig

DEFAULT_FPS = 10.0
DEFAULT_MIN_FRAMES = 2
MAX_SHOWN_NAMES = 3  # names of a kind in the terminal; report.json has all


@click.command()
@_options.file(
    "--images",
    metavar="DIR",
    help="Folder of pictures: DIR/train/CLASS/... (train, val and, to score it, test; or valid, validation ...), "
    "or DIR/CLASS/... with --split. Or of pictures with label files: YOLO's .txt or VOC's .xml beside each or in "
    "labels/ for images/, or COCO's .json; split by --lists, by folders (images/train, train/images), or --split.",
)
@_options.file("--videos", metavar="DIR", help="Folder of clips, laid out likewise; each sampled frame is a row.")
@_options.file(
    "--csv",
    metavar="FILE",
    help="Table that names pictures with their labels, a row a picture: image (path below DIR, which is by default the "
    "table's own folder), the columns of the task (label; labels; yaw, pitch, roll; ...), and, if there, split and "
    "person_id.",
)
@_options.file("--out", metavar="DIR", required=True, help="Folder for dataset.parquet and report/.")
@click.option(
    "--split",
    metavar="70/15/15",
    help="Split the pictures of DIR: shares of train, val and test. Splits DIR/train and DIR/val again "
    "where there is no DIR/test.",
)
@click.option(
    "--group",
    metavar="person|video|REGEX",
    help="What must not lie in two splits. person: the first folder below the class (of DIR, with label files), "
    "else the file name up to its first _. video: the folders below the class, else the file name less its number; "
    "a clip with --videos. REGEX: searched in CLASS/.../file, its first group is the key, such as '/([^/_]+)_'.  "
    "[default: each file]",
)
@click.option(
    "--labels",
    metavar="A,B|DIR|FILE.json",
    help="The classes in order, counted from 0.  [default: sorted] Or where the label files of pictures are: a folder "
    "that is there, or a name that ends in .json.  [default: in or beside DIR]",
)
@click.option(
    "--classes",
    metavar="A,B|0,2",
    help="Of label files, keep these classes alone, by name or number, and count them from 0 in this order. Pictures "
    "without any of them stay.  [default: all] Where nobody names the classes, these are the names of 0, 1, ...",
)
@click.option(
    "--lists",
    metavar="FILE",
    multiple=True,
    help="Text file of the pictures (paths below DIR or its own folder, a line each) of the split that it is called "
    "after: --lists train.txt --lists val.txt --lists test.txt, or all with commas between them.",
)
@click.option("--fps", type=float, help=f"Frames a second to sample from clips.  [default: {DEFAULT_FPS:g}]")
@click.option(
    "--min-frames", type=int, help=f"Leave out clips that give fewer frames.  [default: {DEFAULT_MIN_FRAMES}]"
)
@click.option(
    "--detect",
    metavar="NAME",
    shell_complete=_options.complete_model,
    help="With --videos: cut crops of all people that this detector finds, as `whc demo --detect` does. Each person is "
    "a clip; the models trained on them know how their crops were cut.",
)
@_options.detect_class
@_options.margin
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed splits the same way.")
@_options.task
@_options.tracking_uri
@_options.as_json
def command(
    out: Path,
    detect: str | None,
    detect_class: str | None,
    margin: str | None,
    task: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Build a data set from folders of pictures or clips, pictures with label files, or a table that names pictures.

    Of exact copies with equal labels one is kept, of those with different labels none. Near-duplicates share a split.
    With two classes the second is the positive one.
    """
    config = _config(**options)
    config, follow = _with_crops(config, detect, detect_class, margin)
    from whc import tasks
    from whc.data import labels_csv
    from whc.data.building import build

    if task:
        kind = _options.task_named(task)
    elif config.csv:
        kind = tasks.of_columns(labels_csv.read_header(config.csv), str(config.csv))
    else:
        kind = tasks.of_files(config)
    console = _options.messages()
    with _options.progress(console, "reading") as on_progress:
        report = build(config, kind, out, on_progress, follow)
    _options.emit(report.model_dump(mode="json"), as_json, _render(report, out))


def _with_crops(
    config: BuildConfig, detect: str | None, detect_class: str | None, margin: str | None
) -> tuple[BuildConfig, Callable[[], Followed] | None]:
    """The settings with how crops are cut, and what follows the people of each clip; None keeps complete frames."""
    if detect is None and detect_class is None and margin is None:
        return config, None
    from whc.data.cropping import margin_rule
    from whc.demo.people import followers
    from whc.errors import UsageError, problem

    if detect and config.kind != "videos":
        raise UsageError(problem("--detect", "must go with --videos", detect, "leave it out"))
    detector = _options.detector(detect, detect_class, margin)
    if detector is None:
        return config, None
    rule = margin_rule(margin, detector.name)
    return config.model_copy(update={"crop": rule}), followers(detector, config.fps or DEFAULT_FPS)


def _config(
    images: Path | None,
    videos: Path | None,
    csv: Path | None,
    split: str | None,
    labels: str | None,
    classes: str | None,
    lists: tuple[str, ...],
    **rest: object,
) -> BuildConfig:
    from whc.config import validate
    from whc.data.sources import BuildConfig
    from whc.data.splitting import shares
    from whc.errors import UsageError, problem

    if csv and videos:
        raise UsageError(problem("--csv", "must go with --images", str(videos), "leave out --videos"))
    if csv:
        images = images or csv.parent
    if (images is None) == (videos is None):
        got = "neither" if images is None else "both"
        raise UsageError(problem("--images, --videos", "one of them must be given", got, "give the folder to read"))
    if images and (rest["fps"] or rest["min_frames"]):
        raise UsageError("--fps, --min-frames: must go with --videos, got --images; leave them out")
    content = {key: value for key, value in rest.items() if value is not None}
    if videos:
        content = {"fps": DEFAULT_FPS, "min_frames": DEFAULT_MIN_FRAMES} | content
    if split is not None:
        content["split"] = shares(split)
    content |= label_content(labels, classes, lists)
    content |= {"kind": "images" if images else "videos", "folder": images or videos}
    if csv:
        content["csv"] = csv
    return validate(BuildConfig, content, "whc data build")


def label_content(labels: str | None, classes: str | None, lists: tuple[str, ...]) -> dict[str, object]:
    """What `--labels`, `--classes` and `--lists` give, by the fields of `BuildConfig`.

    Raises:
        UsageError: a name is given twice.
    """
    content: dict[str, object] = {}
    if labels is not None and (labels.endswith(".json") or _is_folder(Path(labels))):
        content["label_path"] = Path(labels)
    elif labels is not None:
        content["labels"] = _names("--labels", labels, "no_smiling,smiling")
    if classes is not None:
        content["classes"] = _names("--classes", classes, "person,hand, or 0,2")
    return content | {"lists": [name.strip() for part in lists for name in part.split(",") if name.strip()]}


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that no folder can have
        return False


def _names(option: str, text: str, example: str) -> list[str]:
    from whc.errors import UsageError, problem

    names = [name.strip() for name in text.split(",")]
    if len(set(names)) < len(names) or "" in names:
        raise UsageError(problem(option, "must be different names", text, f"write {example}"))
    return names


def _render(report: BuildReport, out: Path) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from whc.data.building import PAGE_FILE, REPORT_FILE

    splits = report.splits.values()
    table = Table(title=Text(f"{report.path}: {report.rows} rows"), title_justify="left")
    table.add_column("rows")
    for name in report.splits:
        table.add_column(name, justify="right")
    for name in next(iter(splits)).strata:
        table.add_row(Text(name), *(str(split.strata[name]) for split in splits))
    table.add_section()
    table.add_row("all", *(str(split.rows) for split in splits))
    table.add_row("share", *(f"{split.rows / report.rows:.1%}" for split in splits))
    table.add_row("clips" if report.frame_rate else "pictures", *(str(split.clips) for split in splits))
    table.add_row("groups", *(str(split.people) for split in splits))
    lines = [*_left_out(report), *_near(report), *report.notes, f"report: {out / PAGE_FILE}, {out / REPORT_FILE}"]
    return Group(table, *map(Text, lines))


def _left_out(report: BuildReport) -> Iterator[str]:
    """A line for each reason, with the first names."""
    for reason in dict.fromkeys(entry.reason for entry in report.left_out):
        entries = [entry for entry in report.left_out if entry.reason == reason]
        is_one_detail = len({entry.detail for entry in entries}) == 1 < len(entries)
        examples = _first_names(entry.name if is_one_detail else f"{entry.name}: {entry.detail}" for entry in entries)
        yield f"left out, {reason}: {len(entries)} ({examples})"


def _near(report: BuildReport) -> Iterator[str]:
    clusters = report.near_duplicates
    if clusters:
        examples = _first_names(" ~ ".join(cluster[:2]) for cluster in clusters)
        yield f"near-duplicates, in one group: {sum(map(len, clusters))} in {len(clusters)} clusters ({examples})"
    if report.leaks:
        examples = _first_names(" ~ ".join(cluster[:2]) for cluster in report.leaks)
        yield (
            f"near-duplicates in more than one split: {len(report.leaks)} ({examples}); "
            "give the files unsplit with --split to keep them together"
        )


def _first_names(names: Iterable[str]) -> str:
    all_names = list(names)
    return ", ".join(all_names[:MAX_SHOWN_NAMES]) + (" ..." if len(all_names) > MAX_SHOWN_NAMES else "")

"""The ladder of a study on its page: the table, each variant closely, and what was left out."""

from __future__ import annotations

from pathlib import Path

from whc import tasks
from whc.pages import Cell, Column, Facts, Fold, Link, Listing, Part, Picture, Pictures, Section, Table, Text
from whc.pages.figures import curves
from whc.pages.thumbnails import embedded
from whc.records import LadderDetails, LadderTable, VariantDetails, VariantRow
from whc.search.showing.front_section import points
from whc.search.space.summary import summary
from whc.words import moment, quantity

DETAILS_FOLDER = "ladder"


def ladders(table: LadderTable, folder: Path) -> list[Section]:
    """A section with the table of each ladder; of several, first one with all variants side by side."""
    files: Part = Text(f"The same as files in {folder.name}/: table.md, table.csv, table.json, front.png, front.svg.")
    if not table.others:
        return [Section("Ladder", [*_ladder(table), files])]
    each = [Section(f"Ladder {ladder.prefix}: {ladder.kind_shown}", _ladder(ladder)) for ladder in table.ladders]
    return [Section("Ladders side by side", [*_side_by_side(table), files]), *each]


def _side_by_side(table: LadderTable) -> list[Part]:
    """All variants of all ladders, the fastest first."""
    metric = table.metric
    columns = [
        Column("variant"),
        Column("file and runtime"),
        Column(f"validation {metric.name}", is_number=True),
        Column(f"test {metric.name}", is_number=True),
        Column("latency ms", is_number=True),
        Column("x reference", is_number=True),
        Column("KB", is_number=True),
        Column("trial"),
    ]
    pairs = [(row, ladder) for ladder in table.ladders for row in ladder.variants]
    rows: list[list[str | Cell]] = [
        [
            row.name,
            ladder.kind_shown,
            metric.number(row.val_score),
            metric.number(row.score),
            f"{row.latency_ms:.4f}",
            row.ratio_shown,
            f"{row.size_bytes / 1000:.1f}",
            row.trial_id,
        ]
        for row, ladder in sorted(pairs, key=lambda pair: pair[0].latency_ratio or pair[0].latency_ms)
    ]
    words = (
        "Each ladder was chosen by itself, by the validation score and the latency of these very files on its runtime. "
        "Compare latencies by x reference, the ratio to the reference network, which each session timed too."
    )
    return [Table(columns, rows), Text(words)]


def _ladder(table: LadderTable) -> list[Part]:
    """The table of the variants, with what must be known to read it."""
    metric = table.metric
    unit = f", {metric.unit}" if metric.unit else ""
    columns = [
        Column("variant"),
        Column(f"test {metric.name}{unit} (95 %)", is_number=True),
        Column("latency ms (95 %)", is_number=True),
        Column("KB", is_number=True),
        Column("RAM MB", is_number=True),
        Column("x reference", is_number=True),
        Column(f"validation {metric.name}", is_number=True),
        Column("weights", is_number=True),
        Column("network"),
    ]
    score, split = table.floor_shown
    floor = tasks.of_table(table.task, table.labels).shown_floor(score)
    noted: dict[str, list[str]] = {}
    for row in table.variants:
        for note in row.notes[1:]:
            noted.setdefault(note, []).append(row.name)
    remarks = [f"{', '.join(names)}: {note}" for note, names in noted.items()]
    sure, at_95 = f"{100 * table.confidence:.0f} % confidence", quantity(table.variants_at_95, "variant")
    gains = f"Each variant adds its gain to the faster one with {sure} on validation; at 95 % {at_95} would be left."
    call_times = [row.call_ms for row in table.variants if row.call_ms is not None][:1]
    words = [
        *([] if table.test_split else [f"{metric.untested}."]),
        f"{floor} on the {split} split.",
        f"Latency: one forward pass at batch 1, {table.variants[0].runtime}, on {table.host}, all variants timed "
        f"interleaved on {moment(table.timed_at)}. "
        "Between sessions compare x reference, the ratio to the reference network.",
        *[f"A call of an empty network takes {call_ms:.4f} ms of it." for call_ms in call_times],
        "RAM is the peak of a process that runs the file, beyond one that runs an empty network.",
        *([table.val_rows_shown] if table.val_rows_shown else []),
        *([gains] if len(table.variants) > 1 else []),
        *remarks,
    ]
    rows = [_row(row, table) for row in table.variants]
    return [Table(columns, rows), *[Text(line) for line in words]]


def _row(row: VariantRow, table: LadderTable) -> list[str | Cell]:
    metric = table.metric
    test = metric.number(row.score)
    if row.score_low is not None and row.score_high is not None:
        test += f" ({metric.shown_range(row.score_low, row.score_high)})"
    return [
        row.name,
        test,
        f"{row.latency_ms:.4f} ({row.latency_low_ms:.4f} to {row.latency_high_ms:.4f})",
        f"{row.size_bytes / 1000:.1f}",
        row.ram_shown,
        row.ratio_shown,
        metric.number(row.val_score),
        f"{row.params:,}",
        summary(row.config),
    ]


def variants(table: LadderTable, details: LadderDetails | None, folder: Path, is_named: bool = False) -> list[Section]:
    """Sections with each variant closely, its other kinds of file, and the candidates that were left out.

    With `is_named` their headings say of which ladder.
    """
    of_ladder = f" of {table.prefix}" if is_named else ""
    known = details.variants if details else {}
    folds: list[Part] = [
        Fold(_title(row, table), _variant(row, known.get(row.name), table, folder), is_open=number == 0)
        for number, row in enumerate(table.variants)
    ]
    intro: Part = Text("Diagnostics, mistakes and curves are of the validation split, which chose the variants.")
    sections = [Section(f"Variants{of_ladder}", [intro, *folds])]
    if any(row.artifacts for row in table.variants):
        sections.append(_artifacts(table))
    if table.left_out:
        sections.append(Section(f"Left out{of_ladder} because", [_left_out(table)]))
    return sections


def _title(row: VariantRow, table: LadderTable) -> str:
    size = f"{row.size_bytes / 1000:.0f} KB"
    return f"{row.name}: validation {table.metric.shown(row.val_score)}, {row.latency_ms:.4f} ms, {size}"


def _variant(row: VariantRow, details: VariantDetails | None, table: LadderTable, folder: Path) -> list[Part]:
    metric = table.metric
    parts: list[Part] = []
    if details is None:
        again = f"build the ladder again with `whc factory build-table --study {table.study}`"
        why = "an older version built this ladder, or its details cannot be read"
        parts.append(Text(f"Diagnostics are absent: {why}; {again}.", is_missing=True))
    else:
        parts += _evidence(details, folder, table)
        y_title = f"validation {metric.name}"
        named = {
            f"seed {seed}{', this variant' if seed == str(details.seed) else ''}": points(metric, curve)
            for seed, curve in details.curves.items()
        }
        parts += [Text("How its trainings learnt:"), curves(named, y_title)]
    if row.parts:
        shown = {name: part.shown for name, part in row.parts.items()}
        parts += [Text("Parts of the score on the test split, with 95 % intervals:"), Facts(shown)]
    parts += [
        Text("Run it, or take it where whc is not installed:"),
        Listing(
            [
                f"whc demo --model {row.name}",
                f"whc predict --model {row.name} --source pictures/ --out answers.csv",
                f"whc export --model {row.name} --bundle {row.name}.zip",
            ]
        ),
        Facts(_origin(row, details, table, folder)),
    ]
    return parts


def _evidence(details: VariantDetails, folder: Path, table: LadderTable) -> list[Part]:
    parts: list[Part] = []
    drawn_words = tasks.of_table(table.task, table.labels).words.mistakes
    picture = folder / DETAILS_FOLDER / details.diagnostics
    if picture.is_file():
        words = f"diagnostics on the validation split: how outputs and labels agree ({table.metric.name})"
        parts.append(Pictures([Picture(embedded(picture), words)], is_wide=True))
    if details.mistakes:
        shown = [Picture(mistake.picture, mistake.words) for mistake in details.mistakes]
        drawn = f" ({drawn_words})" if drawn_words else ""
        parts += [Text(f"The worst mistakes on validation, of as many people or clips as possible{drawn}:")]
        parts += [Pictures(shown)]
    return parts


def _origin(row: VariantRow, details: VariantDetails | None, table: LadderTable, folder: Path) -> dict[str, str | Link]:
    """Where the file is, and where its bytes come from."""
    is_there = (folder / row.file).is_file()
    brought_back = f"{row.file} is gone; `whc factory build-table --study {table.study}` makes it again"
    seed = f", seed {details.seed}" if details else ""
    hashed = {"sha256": row.sha256} if row.sha256 else {}
    return {
        "file": Link(row.file, row.file) if is_there else brought_back,
        **hashed,
        "run": f"study {table.study}, trial {row.trial_id}{seed}",
        "data": table.data_fingerprint,
        "code": f"whc {table.code_version}",
        "timed on": table.host,
        "parity": row.notes[0] if row.notes else "unknown",
    }


def _artifacts(table: LadderTable) -> Section:
    metric = table.metric
    columns = [
        Column("variant"),
        Column("kind"),
        Column(f"validation {metric.name}", is_number=True),
        Column("KB", is_number=True),
        Column("RAM MB", is_number=True),
        Column("x latency of the ONNX file (95 %)", is_number=True),
        Column("verdict"),
        Column("file"),
    ]
    rows: list[list[str | Cell]] = [
        [
            row.name,
            tried.kind,
            "" if tried.val_score is None else metric.number(tried.val_score),
            f"{tried.size_bytes / 1000:.1f}" if tried.size_bytes else "",
            tried.ram_shown,
            tried.ratio_shown,
            tried.verdict,
            tried.file,
        ]
        for row in table.variants
        for tried in row.artifacts
    ]
    words = "Each was scored on validation through its own runtime, and timed against the ONNX file in one session."
    return Section("Other kinds of file", [Table(columns, rows), Text(words)])


def _left_out(table: LadderTable) -> Part:
    metric = table.metric
    columns = [
        Column("trial"),
        Column(f"validation {metric.name}", is_number=True),
        Column("latency ms", is_number=True),
        Column("because"),
    ]
    rows = [[row.trial_id, metric.number(row.val_score), f"{row.latency_ms:.4f}", row.reason] for row in table.left_out]
    return Table(columns, rows, trial_ids=[row.trial_id for row in table.left_out])

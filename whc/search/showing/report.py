"""`report.html`: the one page of a study, with its ladder on top if there is one; it needs no network."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from whc import records
from whc.errors import StudyError
from whc.pages import Section, Text, render
from whc.records import LadderDetails, LadderTable, StudyRecord, TrialRecord, write_atomic
from whc.search.showing import front_section, ladder_sections, search_sections
from whc.search.showing.display import counted

REPORT_FILE = "report.html"
PICTURES_NOTE = "This page holds pictures of the data set. Think of the people on them before you pass it on."


def draw(folder: Path) -> Path:
    """Draw the page of a study from what is on disk, unless that has been done, and return its path.

    Raises:
        StudyError: a trial's record is damaged.
        UsageError: study.yaml is damaged.
    """
    study, ended = StudyRecord.load(folder), list(records.trial_records(folder))
    page, is_released = folder / REPORT_FILE, not records.code_version().endswith("-dirty")
    if is_released and page.is_file() and page.read_bytes().endswith(_origin(study, ended, folder).encode()):
        return page
    return write(study, ended, folder)


def write(study: StudyRecord, ended: Sequence[TrialRecord], folder: Path) -> Path:
    """Write the page of a study with these trials, and with the ladder that is in its folder.

    Args:
        study: the study.
        ended: its trials that are over, in any order.
        folder: of the study; a page that is there is replaced.
    """
    ended = sorted(ended, key=lambda record: record.trial_id)
    states = counted(Counter(record.state for record in ended))
    facts = {
        "trials": f"{len(ended)} of {study.trials} ended: {', '.join(states) or 'none'}",
        "data": f"{study.data_shown} ({study.data_fingerprint})",
        "host": study.host,
        "limits": ", ".join(f"{name} {limit:g}" for name, limit in study.limits.items()) or "none",
        "constant predictor": f"{study.metric.shown(study.floor)} on validation",
    }
    sections: list[Section] = []
    note = ""
    table, details, fault = _ladder(folder)
    sections += ladder_sections.ladders(table, folder) if table else []
    if fault:
        sections += [Section("Ladder", [])] if not sections else []
        sections[0] = Section(sections[0].title, [*sections[0].parts, Text(fault, is_missing=True)])
    sections.append(front_section.front(study, ended, table, details))
    for ladder in table.ladders if table else ():
        sections += ladder_sections.variants(ladder, details, folder, is_named=bool(table and table.others))
    if table:
        note = PICTURES_NOTE if details and details.holds_pictures else ""
    sections += search_sections.sections(study, ended)
    path = folder / REPORT_FILE
    write_atomic(path, render(study.study, facts, sections, note) + _origin(study, ended, folder))
    return path


def _origin(study: StudyRecord, ended: Sequence[TrialRecord], folder: Path) -> str:
    """A comment at the end of the page, with the hash of all that it is drawn from."""
    digest = hashlib.sha256(f"{records.code_version()} {study.model_dump_json()}".encode())
    for record in sorted(ended, key=lambda record: record.trial_id):
        digest.update(record.model_dump_json().encode())
    for path in (folder / "table.json", *sorted((folder / "ladder").glob("*"))):
        if path.is_file():
            digest.update(f"{path.name} {records.sha256(path)}".encode())
    return f"\n<!-- drawn from {digest.hexdigest()} -->\n"


def _ladder(folder: Path) -> tuple[LadderTable | None, LadderDetails | None, str]:
    """The ladder of a study and its details, None where they are absent or cannot be read; and why they cannot."""
    table_path, details_path = folder / "table.json", folder / "ladder" / "details.json"
    build = f"build it again with `whc factory build-table --study {folder.name}`"
    table, details = None, None
    try:
        table = records.load(LadderTable, table_path, build) if table_path.is_file() else None
        details = records.load(LadderDetails, details_path, build) if details_path.is_file() else None
    except StudyError as error:
        return table, details, str(error)
    return table, details, ""

"""The start of a search; its whole way is walked by tests/test_chain.py."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from whc import records
from whc.data.dataset import load
from whc.data.synthetic import render
from whc.errors import StudyError, UsageError, WhcError
from whc.latency.timer import TimingPlace
from whc.latency.timer.client import RemoteTimer
from whc.records import StudyRecord, TimerRecord
from whc.search.running import run, study
from whc.search.running.run import Request, search
from whc.tasks.classification import Classification
from whc.trials import cluster

PLACE = TimingPlace(host="Abacus 3000", runtime="abacus", threads=2, settings={"abacus": {"threads": 2}})
SPACE = "name: hands\nrecipe: tiny\ntrials: 1\nspace: {model: {image_size: 16}}\n"


def test_unreadable_images_are_told_and_the_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = render(tmp_path, clips=12)
    table = pq.read_table(data)
    pictures = table["image_bytes"].to_pylist()
    pictures[5] = b"no picture"
    place = table.column_names.index("image_bytes")
    pq.write_table(table.set_column(place, table.schema.field(place), pa.array(pictures, pa.binary())), data)
    (tmp_path / "hands.yaml").write_text(SPACE)
    settings, _ = study.read(tmp_path / "hands.yaml")

    def begun(*_: object) -> None:
        raise StudyError("it went on")

    monkeypatch.setattr(run, "Driver", begun)
    out = io.StringIO()
    request = Request("hands-1", tmp_path / "runs", settings, [data], resume=False)
    with pytest.raises(StudyError, match="it went on"):
        search(request, [], Console(file=out, width=200))
    assert "1 unreadable image left out, first " in out.getvalue()
    assert table["image_path"][5].as_py() in out.getvalue()


def test_a_study_of_a_moved_project_goes_on_with_its_own_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_study: Callable[..., StudyRecord]
) -> None:
    data = render(tmp_path / "old", clips=12)
    folder = tmp_path / "old" / "runs" / "hands-1"
    begun = make_study(
        study="hands-1",
        space={"model": {"image_size": 16}},
        data=records.data_name(data, folder),
        data_fingerprint=load(data, [], Classification).fingerprint,
    )
    begun.save(folder)
    (tmp_path / "old").rename(tmp_path / "new")

    def went_on(*_: object) -> None:
        raise StudyError("it went on")

    monkeypatch.setattr(run, "Driver", went_on)
    request = Request("hands-1", tmp_path / "new" / "runs", None, [], resume=True)
    with pytest.raises(StudyError, match="it went on"):
        search(request, [], Console(file=io.StringIO()))


def test_a_timer_must_be_reached_from_all_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_study: Callable[..., StudyRecord]
) -> None:
    monkeypatch.setattr(cluster, "joined", lambda address: nullcontext(4))
    monkeypatch.setattr(cluster, "several_nodes", lambda: True)
    timer = RemoteTimer("127.0.0.1:8700", "0123456789abcdef", PLACE)
    make_study(study="hands-1").save(tmp_path / "hands-1")
    request = Request("hands-1", tmp_path, None, [], resume=True, address="auto", timer=timer)
    with pytest.raises(UsageError, match=r"^--time-on: must be an address that every node reaches, got '127\.0"):
        search(request, [], Console())


@pytest.mark.parametrize(
    ("began", "now", "message"),
    [
        (True, None, "must be named again, as it times on Abacus 3000, got None; add --time-on device:8700"),
        (True, PLACE.model_copy(update={"host": "another"}), "must be the one that it began with ("),
        (True, PLACE.model_copy(update={"settings": "tensorrt"}), "must be the one that it began with ("),
        (False, PLACE, "must be the one that it began with (none), got {'abacus': {'threads': 2}} on Abacus 3000; go "),
        (True, PLACE, ""),
        (False, None, ""),
    ],
)
def test_a_study_is_timed_where_it_began(
    began: bool, now: TimingPlace | None, message: str, tmp_path: Path, make_study: Callable[..., StudyRecord]
) -> None:
    timer = TimerRecord(address="device:8700", runtime=PLACE.settings) if began else None
    make_study(study="hands-1", host=PLACE.host, timer=timer).save(tmp_path / "hands-1")
    asked = now and RemoteTimer("elsewhere:8700", "0123456789abcdef", now)
    request = Request("hands-1", tmp_path, None, [], resume=True, timer=asked)
    # Without a complaint it goes on to the data, which are not there.
    rule = re.escape(f"hands-1: timer: {message}") if message else "data"
    with pytest.raises(WhcError, match=rule):
        search(request, [], Console())

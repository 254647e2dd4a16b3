"""Clips by video and time where those say it, by source and path elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.data.clips import BY_TIME, Clips, find_clips

Columns = dict[str, list[Any]]


def sound() -> Columns:
    """Two videos of three frames, whose times, paths and sources each give another order or grouping."""
    return {
        "split": ["train"] * 6,
        "video_id": ["a", "a", "a", "b", "b", "b"],
        "timestamp": [3, 2, 1, 1, 2, 3],
        "source": ["x", "x", "y", "y", "y", "y"],
        "image_path": ["f/1", "f/2", "f/3", "f/6", "f/5", "f/4"],
    }


def members(clips: Clips) -> dict[str, list[int]]:
    """Rows of each clip in their order; names may repeat over splits."""
    result: dict[str, list[int]] = {}
    for number in dict.fromkeys(clips.numbers.tolist()):
        rows = np.flatnonzero(clips.numbers == number)
        result[clips.names[rows[0]]] = rows[np.argsort(clips.places[rows], kind="stable")].tolist()
    return result


def test_video_and_time_come_first() -> None:
    clips = find_clips(pd.DataFrame(sound()))
    assert members(clips) == {"a": [2, 1, 0], "b": [3, 4, 5]}
    assert clips.rule == BY_TIME


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"timestamp": [0] * 6}, "timestamp is the same everywhere"),
        ({"timestamp": [None] * 6}, "there is no timestamp"),
        ({"timestamp": [1, 2, None, 1, 2, 3]}, "some rows have no timestamp"),
        ({"timestamp": [1, 1, 2, 1, 2, 3]}, "frames of one video_id share a timestamp"),
        ({"video_id": [None] * 6}, "there is no video_id"),
        ({"video_id": ["a"] * 6, "timestamp": [1, 2, 3, 4, 5, 6]}, "video_id is the same everywhere"),
    ],
)
def test_else_the_originals_rule(change: Columns, reason: str) -> None:
    clips = find_clips(pd.DataFrame(sound() | change))
    assert members(clips) == {"x": [0, 1], "y": [2, 5, 4, 3]}
    assert clips.rule == f"clips: by source, in order of image_path, as {reason}"


def test_without_a_source_folders_are_clips() -> None:
    columns = sound() | {"timestamp": [0] * 6, "source": ["", None, "y", "", "", ""]}
    columns["image_path"] = ["a/2.png", "a/1.png", "a/0.png", "b\\2.png", "b\\1.png", "c.png"]
    assert members(find_clips(pd.DataFrame(columns))) == {"a": [1, 0], "y": [2], "b": [4, 3], ".": [5]}
    columns["source"] = [""] * 6
    assert find_clips(pd.DataFrame(columns)).rule.startswith("clips: by the folder of image_path, in order of image")


def test_one_video_alone_is_a_clip() -> None:
    columns = {"split": [""] * 3, "video_id": ["a"] * 3, "timestamp": [2, 1, 0], "image_path": ["f/9", "f/10", "f/11"]}
    assert members(find_clips(pd.DataFrame(columns))) == {"a": [2, 1, 0]}


def test_without_paths_rows_stay_as_they_are() -> None:
    clips = find_clips(pd.DataFrame({"split": ["train"] * 3, "video_id": ["a", None, "a"]}))
    assert members(clips) == {"a": [0, 2], "row 1": [1]}
    assert clips.places.tolist() == [clips.places[0]] * 3  # windows find no order in them
    assert clips.rule == f"{BY_TIME}, which it has not: there is no timestamp"


@given(st.lists(st.tuples(*(st.integers(0, 2) for _ in range(5))), min_size=1, max_size=12))
def test_no_clip_reaches_over_splits_and_every_row_has_its_place(rows: list[tuple[int, ...]]) -> None:
    split, video, time, source, path = map(list, zip(*rows, strict=True))
    columns = {"split": split, "video_id": video, "source": source, "image_path": path}
    frame = pd.DataFrame({name: list(map(str, values)) for name, values in columns.items()} | {"timestamp": time})
    clips = find_clips(frame)
    assert frame.groupby(clips.numbers)["split"].nunique().max() == 1
    assert len(set(zip(clips.numbers.tolist(), clips.places.tolist(), strict=True))) == len(rows)
    assert frame.assign(name=clips.names).groupby(clips.numbers)["name"].nunique().max() == 1
    by = "timestamp" if clips.rule == BY_TIME else "image_path"
    for _, clip in frame.assign(place=clips.places).groupby(clips.numbers):
        assert clip.sort_values("place")[by].is_monotonic_increasing

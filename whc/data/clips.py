"""The clips of a data set and the order of their frames: by video and time, or by the rule of WHC and HSC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

BY_TIME = "clips: by video_id, in order of timestamp"


@dataclass(frozen=True)
class Clips:
    """The clips of N rows; each clip lies within one split.

    `names` (N,) are the clips' names for people, `numbers` (N,) identify the clips, `places` (N,) order the frames of
    each clip. `rule` says in one line how the clips were found.
    """

    names: pd.Series[str]
    numbers: NDArray[np.int64]
    places: NDArray[np.int64]
    rule: str


def find_clips(rows: pd.DataFrame) -> Clips:
    """Group rows into clips.

    A clip is a video in order of time, if video_id and timestamp exist and vary, and no two frames of a clip have the
    same time. Otherwise the rule of WHC and HSC applies: a clip is the rows of a source (or of the folder of
    image_path, where there is no source) in order of their paths as text.

    Args:
        rows: split, and those of video_id, timestamp, source and image_path that the file has; None for a missing
            value.
    """
    row_names = pd.Series([f"row {number}" for number in range(len(rows))], rows.index, dtype="str")
    videos = _column(rows, "video_id")
    times = _column(rows, "timestamp")
    paths = _column(rows, "image_path")
    sources = _column(rows, "source").replace("", None)
    folders = paths.str.replace("\\", "/").str.rpartition("/")[0].replace("", ".") if paths.notna().any() else paths
    places = pd.factorize(times, sort=True)[0].astype(np.int64)
    reason = _missing_order(rows["split"], videos, times, places, len(sources.fillna(folders).unique()) > 1)
    if not reason or paths.isna().all():
        names = videos.fillna(row_names)
        rule = BY_TIME + (f", which it has not: {reason}" if reason else "")
    else:
        names = sources.fillna(folders).fillna(row_names)
        key = "source" if sources.notna().any() else "the folder of image_path"
        rule = f"clips: by {key}, in order of image_path, as {reason}"
        order = np.argsort(paths.fillna("").to_numpy(str), kind="stable")
        places = np.empty(len(rows), np.int64)
        places[order] = np.arange(len(rows))
    numbers = rows.assign(name=names).groupby(["split", "name"], sort=False).ngroup().to_numpy().astype(np.int64)
    return Clips(names, numbers, places, rule)


def _column(rows: pd.DataFrame, name: str) -> pd.Series:
    return rows[name] if name in rows else pd.Series(None, rows.index, dtype="object")


def _missing_order(
    splits: pd.Series, videos: pd.Series, times: pd.Series, places: NDArray[np.int64], sources_vary: bool
) -> str:
    """The reason why video_id and timestamp do not make clips; empty where they do."""
    for name, column in (("video_id", videos), ("timestamp", times)):
        if column.isna().all():
            return f"there is no {name}"
    if times.isna().any():
        return "some rows have no timestamp"
    if len(times.unique()) < 2:
        return "timestamp is the same everywhere"
    # A single video is a clip too, unless sources or folders tell clips apart.
    if len(videos.unique()) < 2 and sources_vary:
        return "video_id is the same everywhere"
    frames = pd.DataFrame({"split": splits, "video": videos, "place": places})
    if frames[videos.notna()].duplicated().any():
        return "frames of one video_id share a timestamp"
    return ""

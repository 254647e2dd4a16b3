"""Makes smile.parquet of searches: `python keep.py runs/recorded-1/trials.parquet runs/recorded-front-1/...`.

Only what a replay reads is kept. The machine that recorded it did other work now and then, so an epoch is said to have
taken what the trial's fastest one took.
"""

import json
import sys
from pathlib import Path

import pandas as pd

COLUMNS = ["trial_id", "state", "config", "curve", "latency", "before_s", "size_bytes", "params", "peak_memory_bytes"]

frames = [pd.read_parquet(path) for path in sys.argv[1:]]
study = {**frames[0].attrs["study"], "data": "smile/dataset.parquet", "host": ""}
frame = pd.concat([one.loc[one["state"] == "finished", COLUMNS] for one in frames], ignore_index=True)
frame["trial_id"] = [f"{number:05d}" for number in frame.index]
curves = [json.loads(curve) for curve in frame["curve"]]
for curve in curves:
    fastest = min(point["seconds"] for point in curve)
    for point in curve:
        point.update(seconds=round(fastest, 3), val_score=round(point["val_score"], 4))
frame["curve"] = [json.dumps(curve) for curve in curves]
frame["before_s"] = frame["before_s"].clip(upper=frame["before_s"].median()).round(3)
frame.attrs = {"study": study}
frame.to_parquet(Path(__file__).with_name("smile.parquet"), compression="zstd")
print(len(frame), "trainings")

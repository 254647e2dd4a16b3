"""The model card in Markdown: what a variant is, how it was measured, and its limits."""

from __future__ import annotations

import json
from pathlib import Path

from whc import plugins, tasks
from whc.config import render, shipped
from whc.records import LadderTable, VariantRow
from whc.runtimes import choose_for

SIZE_NAMES = {"p": "pico", "n": "nano", "t": "tiny", "s": "small", "c": "compact", "m": "medium", "l": "large"}


def model_card(row: VariantRow, table: LadderTable, exported: Path) -> str:
    """Render `factory/card.md.j2` for one variant; the description of the input comes from its file.

    Raises:
        ArtifactError: `exported` is not one of whc's models.
        UsageError: the template has an error.
    """
    runtime = choose_for([exported])
    model = plugins.load("runtimes", runtime.name).load(exported, runtime.config)
    return render(
        shipped("factory", "card.md.j2"),
        row=row,
        table=table,
        metadata=model.metadata(),
        shape=model.input_shape[1:],
        size=SIZE_NAMES[row.name[-1]],
        config=json.dumps(row.config, indent=2, ensure_ascii=False),
        metric=table.metric,
        task=tasks.in_markdown(tasks.of_file(model.metadata())),
    )

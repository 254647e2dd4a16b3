"""The model card: what a variant is, how it was measured and where it ends, as Markdown."""

from __future__ import annotations

import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, select_autoescape

from whc.config import shipped
from whc.errors import RegistryError
from whc.records import LadderTable, VariantRow
from whc.runtimes import onnxruntime_cpu

SIZES = {"p": "pico", "n": "nano", "t": "tiny", "s": "small", "c": "compact", "m": "medium", "l": "large"}


def model_card(row: VariantRow, table: LadderTable, onnx: Path) -> str:
    """Render `factory/card.md.j2` for one variant; what the input is comes from the file itself.

    Raises:
        ArtifactError: `onnx` is not one of whc's models.
        RegistryError: the template has an error.
    """
    template = shipped("factory", "card.md.j2")
    model = onnxruntime_cpu.load(onnx, onnxruntime_cpu.Config())
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=select_autoescape(),  # Markdown is text: nothing to escape
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    try:
        return environment.get_template(template.name).render(
            row=row,
            table=table,
            metadata=model.metadata(),
            shape=model.input_shape[1:],
            size=SIZES[row.name[-1]],
            config=json.dumps(row.config, indent=2, ensure_ascii=False),
        )
    except TemplateError as error:
        raise RegistryError(f"{template}: must be a jinja2 template, got: {error}; mend the template") from error

"""Sequence models: one file each, how frames become one network's input.

A file defines `Config`, `LAYOUT` (a key of `whc.data.preprocess.LAYOUTS`), `UNUSED` (the fields of `ModelConfig` that
its network has no use for), `frames(config)`, `input_shape(config, size)` without the batch, and
`build(config, parts) -> nn.Module` from that input to logits.
"""

"""Sequence models: one file each. A sequence model decides how frames become a network's input.

A file defines `Config`, `INPUT_LAYOUT` (a key of `whc.data.preprocess.LAYOUTS`), `UNUSED` (the fields of `ModelConfig`
that its network does not use), `frames(config)`, `input_shape(config, size)` without the batch, and
`build(config, parts) -> nn.Module` from that input to logits.
"""

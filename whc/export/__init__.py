"""Exporters: one file for each kind of artifact.

A file defines `Config` and `export(network, path, metadata, input_shape, config)`.

`fold.py` prepares networks for all of them, `operators.py` for ONNX; `parity.py` checks that an
artifact computes the same as its network.
"""

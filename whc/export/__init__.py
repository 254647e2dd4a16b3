"""Exporters: one file an artifact kind.

A file defines `Config` and `export(network, path, metadata, input_shape, config)`.

`fold.py` prepares networks for all of them, `operators.py` for ONNX; `parity.py` says whether an artifact still
computes what the network did.
"""

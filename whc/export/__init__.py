"""Exporters: one file for each kind of artifact.

A file defines `Config`, `SUFFIX`: that of its files, `NEEDS_CALIBRATION`: whether it fits integers to real inputs,
`check_installed()`, which raises UsageError where a part of it is missing, and
`export(network, task, path, metadata, input_shape, config, calibration)`, where `calibration` (K, *input_shape) holds
inputs in 0..1 for those that need it, else None. The file is renamed into place when it is complete.

There is none for TensorRT: an engine runs only on the kind of GPU and the version that built it, so that the ONNX file
is what is shipped, and the runtime builds the engine from it on the device.

`fold.py` prepares networks for all of them, `operators.py` for ONNX; `converter/` is the way to LiteRT; `parity.py`
checks that an artifact computes the same as its network.
"""

"""Heads: one file each, from a feature map to logits.

A file defines `Config` and `build(config, channels, feature_size, dropout, outputs) -> nn.Module` that maps
(N, channels, h, w) to (N, outputs). A head that does not fit `feature_size` (h, w) raises a ValueError that says what
would fit.
"""

"""Heads: one file each, from a feature map to logits.

A file defines `Config` and `build(config, channels, feature_size, dropout, outputs) -> nn.Module` that maps
(N, channels, h, w) to (N, outputs); a head that cannot fit `feature_size` (h, w) raises ValueError with what would fit.
"""

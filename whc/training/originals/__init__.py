"""Checkpoints of the projects that whc replaces, read as whc's own: one file for each format."""

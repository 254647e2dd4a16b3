"""Labelled data sets: read, decoded once, prepared, split into windows, resampled; and rendered ones."""

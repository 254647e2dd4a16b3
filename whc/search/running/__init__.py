"""Searches that run: on Ray's workers, or in simulated time on a table of recorded trainings."""

"""Families of tiny vision models: searched, timed, chosen, named, registered and run."""

__version__ = "0.1.0"

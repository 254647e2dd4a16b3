"""Families of tiny vision models: searched, timed, chosen, named, registered and run."""

from whc.environment import prepare

__version__ = "0.1.0"

prepare()

"""Turn a study into a ladder of named models."""

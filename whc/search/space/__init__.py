"""A search file's `space:` in YAML, as a tree of Optuna's distributions."""

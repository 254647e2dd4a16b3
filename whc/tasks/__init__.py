"""Tasks: what is predicted; one file each, torch only inside `loss`.

A file defines `Config`, `outputs`, `output_name`, `decode`, `score`, `constant_score` and `loss`.
"""

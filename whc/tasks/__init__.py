"""Tasks: what is predicted; one file each, torch only inside `loss` and `probabilities`.

A file defines `Config`; what networks give (`outputs`, `output_name`, `columns`, `positive_label`); what that means
(`called`, `margin`, `decode`); how it is scored (`score`, `score_of`, `constant_score`, `confusion`, `best_threshold`);
and how it is learnt (`loss`, `probabilities`).
"""

"""Search: a YAML space, Optuna's samples, Ray Tune's workers, a folder of records."""

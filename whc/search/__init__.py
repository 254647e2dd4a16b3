"""Search: a YAML space, Optuna's samples, Ray Tune's workers, a folder of records.

Rooms, each of which imports only those after it: showing, running, sampling, space.
"""

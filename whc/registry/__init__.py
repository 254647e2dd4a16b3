"""Where models and studies are kept: MLflow on an embedded sqlite database, imported by this package alone."""

import logging
import os

# Read by mlflow when it is imported, so they are set before any module of this package can do so.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
# What the database cannot do is raised, and told in one line; MLflow would print a traceback as well.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

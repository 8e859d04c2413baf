#!/usr/bin/env bash
# Installs what some tests talk to and no Python package brings: dockerd, a registry, and busybox for an image (Debian).
# Without them, or without root, those tests are skipped and say so.
set -euo pipefail

missing() {
    local name
    for name in dockerd docker-registry busybox; do
        command -v "$name" >/dev/null || return 0
    done
    return 1
}

missing || exit 0
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "note: dockerd, docker-registry or busybox is missing, so the tests of DOCKER will be skipped" >&2
    exit 0
fi
echo "Installing the Debian packages docker.io, docker-registry and busybox-static"
export DEBIAN_FRONTEND=noninteractive
{ apt-get update -qq && apt-get install -qq --yes --no-install-recommends docker.io docker-registry busybox-static; } >/dev/null ||
    echo "note: apt-get could not install them, so the tests of DOCKER will be skipped" >&2

#!/usr/bin/env bash
# Makes .venv, or brings it up to date: bootstrap.sh runtime|dev
#
# Needs CPython 3.11 or later (PYTHON=... chooses one) and nothing else: what is missing of the system is installed when
# this runs as root, and named in one line when it does not. Everything that is installed is pinned by version and hash in
# requirements/*.txt. A stamp in .venv remembers for which locks it was made, so a second call costs a few milliseconds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
venv=.venv

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

# What an environment for the given set depends on: a change of any of it makes a new installation.
fingerprint() {
    { printf '%s\n' "$PWD" "$(readlink -f "$venv/bin/python" 2>/dev/null)"
      cat requirements/build.txt "requirements/$1.txt" pyproject.toml scripts/bootstrap.sh; } | sha256sum | cut -d' ' -f1
}

is_current() {
    [[ -x $venv/bin/jobworkerp && -f $venv/stamp-$1 && $(<"$venv/stamp-$1") == "$(fingerprint "$1")" ]]
}

check_python() {
    command -v "$python" >/dev/null ||
        fail "$python was not found: install CPython 3.11 or later (Debian: apt-get install python3) or name one with PYTHON=..."
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$("$python" --version) is too old: CPython 3.11 or later is needed; name one with PYTHON=..."
}

# Programs in an environment name its place, so one that was moved or copied is made again, like a damaged one.
is_usable() {
    grep -qF " $PWD/$venv" "$venv/pyvenv.cfg" 2>/dev/null &&
        "$venv/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Debian keeps the part of the standard library that makes virtual environments in a package of its own.
install_venv_module() {
    local package
    package=$("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')
    command -v apt-get >/dev/null ||
        fail "$python has no ensurepip: install your system's package for Python virtual environments"
    [[ $(id -u) == 0 ]] ||
        fail "the Debian package python3-venv is missing: run 'sudo apt-get install $package', then this again"
    echo "Installing the Debian package $package"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -qq --yes --no-install-recommends "$package"; } >/dev/null ||
        fail "apt-get could not install $package: see above"
}

make_venv() {
    check_python
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install_venv_module
    "$python" -m venv --clear "$PWD/$venv"
}

install() {
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
    "${pip[@]}" install --require-hashes -r requirements/build.txt
    "${pip[@]}" install --require-hashes --no-build-isolation -r "requirements/$1.txt"
    "${pip[@]}" install --no-deps --no-build-isolation --editable .
    # pip compiles what it installs, but not what it only points to; and where PYTHONDONTWRITEBYTECODE is set, as in many
    # containers, each start would compile this program again.
    "$venv/bin/python" -m compileall -q src
}

# A development environment holds everything that running needs.
is_done() {
    is_current "$1" || { [[ $1 == runtime ]] && is_current dev; }
}

main() {
    local wanted=$1
    is_done "$wanted" && return
    # Two first calls at once: the second waits, and finds the work done.
    exec 9<requirements
    ! command -v flock >/dev/null || flock 9
    is_done "$wanted" && return

    echo "Installing what requirements/$wanted.txt pins into $venv (once, and after each change of it; about a minute)"
    is_usable || make_venv
    rm -f "$venv"/stamp-*
    install "$wanted"
    fingerprint "$wanted" >"$venv/stamp-$wanted"
}

case ${1:-} in
    runtime | dev) main "$1" ;;
    *) fail "usage: $0 runtime|dev" ;;
esac

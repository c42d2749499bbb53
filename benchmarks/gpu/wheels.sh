#!/usr/bin/env bash
# Downloads the wheels that a target machine without network lacks; see usage.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<'EOF'
usage: bash benchmarks/gpu/wheels.sh DIR [--python 3.11|3.12]

Fills DIR with the wheels that lisa_mm and its GPU benchmarks need and a target machine lacks: what setup.py asks
for, less benchmarks/gpu/target_packages.txt, in the versions of benchmarks/gpu/wheels.txt. Wheels that are there
already are kept; nothing is removed. Fails above 36 MiB.

  DIR              made if it is missing
  --python 3.12    the target's Python (default 3.12); it need not be here

PYTHON names the interpreter that runs this (default python3, 3.10 or later); it needs the network.

example:
  bash benchmarks/gpu/wheels.sh wheels
  python benchmarks/gpu/run.py --wheels wheels     # on the target
EOF
}

die() {
    echo "error: $*" >&2
    exit 1
}

folder='' python=3.12
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        --python) python=${2-} && shift ;;
        --python=*) python=${1#*=} ;;
        -*) die "no option $1. There are --python and --help." ;;
        *) [[ -z $folder ]] || die "two folders are given, $folder and $1. Name one." && folder=$1 ;;
    esac
    shift || die "--python needs a version, 3.11 or 3.12."
done
[[ -n $folder ]] || die "no folder is given, as in: bash benchmarks/gpu/wheels.sh wheels"
[[ $python =~ ^3\.1[12]$ ]] || die "--python is '$python', but the wheels are for 3.11 or 3.12."

mkdir -p "$folder"
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

# the environment that runs wheels.py and builds deepspeed; without torch, so that nothing of this machine is written down
"${PYTHON:-python3}" -m venv "$temporary/env"
env_python=$temporary/env/bin/python
"$env_python" -m pip --quiet --disable-pip-version-check install --constraint "$here/wheels.txt" packaging setuptools

ask() {
    "$env_python" "$here/wheels.py" --python "$python" "$@"
}

platforms=()
for minor in {28..17}; do
    platforms+=(--platform "manylinux_2_${minor}_x86_64")
done
platforms+=(--platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64)

# One wheel, whole, in an empty folder: an interrupted run leaves nothing half done in DIR.
fetch() {
    local pin=$1 into=$2
    local options=(--quiet --disable-pip-version-check --no-deps)
    if [[ $pin == deepspeed==* ]]; then
        # published as source only; without ops it is the same for every Python, and ops are compiled when they are used
        # (a date and a seed for sets, so that two builds are the same bytes)
        DS_BUILD_OPS=0 SOURCE_DATE_EPOCH=1700000000 PYTHONHASHSEED=0 "$env_python" -m pip wheel "${options[@]}" \
            --no-build-isolation --no-cache-dir --wheel-dir "$into" "$pin"
    else
        "$env_python" -m pip download "${options[@]}" --only-binary :all: --implementation cp --python-version "$python" \
            "${platforms[@]}" --dest "$into" "$pin"
    fi
}

# what a wheel needs is known once it is here, so that there are several rounds
while true; do
    missing=$(ask missing "$folder")
    [[ -n $missing ]] || break
    for pin in $missing; do
        echo "fetching $pin"
        into=$(mktemp -d -p "$temporary")
        fetch "$pin" "$into" || die "no wheel of $pin for Python $python. Pin another version in $here/wheels.txt."
        if [[ $pin == bitsandbytes==* ]]; then
            slimmed=$(mktemp -d -p "$temporary")
            ask slim "$into"/*.whl "$slimmed" --cuda 130
            into=$slimmed
        fi
        mv "$into"/*.whl "$folder"
    done
done
ask report "$folder"

# Shared by the scripts beside it: a virtual environment, and Debian packages.

# Make .venv with what pyproject.toml asks for, pinned by constraints.txt, and put it first on PATH.
venv() {
    local python="${PYTHON:-python3}"
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "Ferryman needs Python 3.11 or newer as python3; set PYTHON to one, or: apt-get install python3" >&2
        exit 1
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null || debian_packages python3-venv
    local stamp
    stamp="$(cat pyproject.toml constraints.txt | cksum) $("$python" -V)"
    if [ "$(cat .venv/stamp 2>/dev/null)" != "$stamp" ]; then
        echo "setting up .venv …" >&2
        rm -rf .venv
        "$python" -m venv .venv
        .venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt pip hatchling editables
        .venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
            --no-build-isolation --editable . --group dev
        echo "$stamp" > .venv/stamp
    fi
    PATH="$PWD/.venv/bin:$PATH"
    export PATH
}

# Install the named Debian packages where we may, else name those that are missing.
debian_packages() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing ${missing[*]} …" >&2
        apt-get install -y -qq "${missing[@]}" >/dev/null 2>&1 && return
        apt-get update -qq >/dev/null 2>&1 || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null && return
    fi
    echo "Missing Debian packages: ${missing[*]}. As root: apt-get install ${missing[*]}" >&2
    exit 1
}

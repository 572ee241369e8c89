# Shared by the scripts beside it: a virtual environment, and Debian packages.

# Make .venv with what pyproject.toml asks for, pinned by constraints.txt, and put it first on PATH.
venv() {
    local python="${PYTHON:-python3}"
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "Ferryman needs Python 3.11 or newer as python3; set PYTHON to one, or: apt-get install python3" >&2
        exit 1
    fi
    # Not that of an activated .venv, which is about to be removed.
    python="$("$python" -c 'import sys; print(getattr(sys, "_base_executable", None) or sys.executable)')"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || debian_packages python3-venv
    exec 9> .venv.lock
    flock 9 # two scripts that start at once would both build it
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
    exec 9>&-
    PATH="$PWD/.venv/bin:$PATH"
    export PATH
}

# Make .venv-fuzz, with the fuzzer and what Ferryman needs to run, and put it first on PATH.
# Apart from .venv, since the fuzzer is large and has no wheels for some Pythons.
fuzz_venv() {
    local stamp
    stamp="$(cat pyproject.toml constraints.txt | cksum) $(.venv/bin/python -V)"
    if [ "$(cat .venv-fuzz/stamp 2>/dev/null)" != "$stamp" ]; then
        echo "setting up .venv-fuzz …" >&2
        rm -rf .venv-fuzz
        .venv/bin/python -m venv .venv-fuzz
        .venv-fuzz/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt pip hatchling editables
        if ! .venv-fuzz/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
            --only-binary :all: --group fuzz; then
            echo "The fuzzer (atheris) has no wheel for $(.venv/bin/python -V) here; set PYTHON to a CPython 3.11." >&2
            exit 1
        fi
        .venv-fuzz/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
            --no-build-isolation --editable .
        echo "$stamp" > .venv-fuzz/stamp
    fi
    PATH="$PWD/.venv-fuzz/bin:$PATH"
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

# Put promtool on PATH, of Debian's Prometheus, which is not installed: that would start a server.
promtool_of_debian() {
    command -v promtool >/dev/null && return
    PATH="$PATH:$PWD/.tools/usr/bin"
    command -v promtool >/dev/null && return
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 0  # the test says what is missing
    echo "unpacking promtool …" >&2
    local place
    place="$(mktemp -d .promtool-XXXXXX)"
    (
        cd "$place"
        apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; } >/dev/null 2>&1
        mkdir -p ../.tools
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x -C ../.tools ./usr/bin/promtool
    ) || true  # the same
    rm -rf "$place"
}

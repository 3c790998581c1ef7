# Sourced by tools/demo and tools/test: makes a virtual environment of the project's own, once.
#
# STREAMLOAD_VENV names another folder than .venv, PYTHON another interpreter than the first suitable one on the path.
# STREAMLOAD_OLDEST=1 installs the oldest versions of dependencies that pyproject.toml allows.
# Packages come from wherever pip is set up to find them.

VENV=${STREAMLOAD_VENV:-.venv}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11 or newer is needed, and none of these is: ${PYTHON:-python3, python3.14 to python3.11, python}. Set PYTHON to one." >&2
    return 1
}

# The dependencies of pyproject.toml at the oldest versions that it allows, a line each: numpy>=1.26 becomes numpy==1.26.
oldest_versions() {
    "$1" -c 'import tomllib
for line in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]:
    print(line.replace(">=", "=="))'
}

make_venv() {
    local python=$1
    "$python" -m venv "$VENV" >/dev/null 2>&1 && return
    # Debian's Python without the python3-venv package cannot bring pip along; the pip outside can fill the environment.
    rm -rf "$VENV"
    "$python" -m venv --without-pip "$VENV" && touch "$VENV/.pip-from-outside"
}

# prepare_environment EXTRA[,EXTRA]: .venv holds the project, editable, with these extras; nothing is done when it does already.
prepare_environment() {
    local extras=$1 stamp python
    python=$(find_python) || exit 1
    stamp="$VENV/.installed-${extras//,/-}"
    local wanted
    wanted=$("$python" -c 'import hashlib, os, sys; print(hashlib.sha256(open("pyproject.toml", "rb").read() + os.getcwd().encode()).hexdigest())')
    if [[ -x $VENV/bin/python && -f $stamp && $(<"$stamp") == "$wanted" ]]; then
        return
    fi
    if [[ ! -x $VENV/bin/python ]]; then
        echo "Making $VENV ..." >&2
        make_venv "$python" || { echo "$python -m venv $VENV failed." >&2; exit 1; }
    fi
    local pip=("$VENV/bin/python" -m pip)
    if [[ -f $VENV/.pip-from-outside ]]; then
        pip=("$python" -m pip --python "$VENV/bin/python")
    fi
    local constraints=()
    if [[ -n ${STREAMLOAD_OLDEST:-} ]]; then
        oldest_versions "$python" >"$VENV/oldest.txt"
        constraints=(--constraint "$VENV/oldest.txt")
    fi
    echo "Installing streamload[$extras] into $VENV ..." >&2
    "${pip[@]}" install -qq --disable-pip-version-check "${constraints[@]}" --editable ".[$extras]" || { echo "pip could not install streamload[$extras]." >&2; exit 1; }
    echo "$wanted" >"$stamp"
}

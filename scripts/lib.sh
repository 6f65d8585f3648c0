# Shared by the scripts here: the virtual environment, made once and reused. Source it.
# The environment is made again where the project's requirements changed since.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=${MILLIMETRIC_VENV:-.venv}
# A file's tests share what is costly to start; each process has an engine of its own.
IN_PARALLEL=(-n auto --maxprocesses 4 --dist loadfile)

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3 python; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    echo "$candidate"
    return
  done
  echo "Python 3.11 or newer is needed; set PYTHON to one." >&2
  return 1
}

# install EXTRAS: the package, editable, with these extras, unless it is there already.
install() {
  local wanted stamp
  wanted="$1 $(cksum < pyproject.toml)"
  stamp="$VENV/.installed"
  grep -qxF "$wanted" "$stamp" 2>/dev/null && return
  if [ ! -x "$VENV/bin/python" ]; then
    echo "Making $VENV ..." >&2
    "$(find_python)" -m venv "$VENV"
  fi
  echo "Installing millimetric-mcp[$1]: about a minute the first time ..." >&2
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$1]"
  echo "$wanted" >> "$stamp"
}

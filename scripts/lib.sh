# shellcheck shell=bash
# Shared by the scripts here; source it. It goes to the repository's root and offers functions.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=${MILLIMETRIC_VENV:-.venv}
[[ $VENV = /* ]] || VENV=$PWD/$VENV
# Options of pytest: the tests of one file share a process, and each process starts its own engine.
# One process more than there are processors, because tests also wait; five at most.
workers=$(($(getconf _NPROCESSORS_ONLN) + 1))
IN_PARALLEL=(-n "$((workers < 5 ? workers : 5))" --dist loadfile)

# run_tests OPTION...: run pytest in parallel, and with MEASURE_COVERAGE keep what the tests cover.
run_tests() {
  local tests=(pytest "${IN_PARALLEL[@]}" --durations 10 "$@")
  if [ -n "${MEASURE_COVERAGE:-}" ]; then
    "$VENV/bin/coverage" run -m "${tests[@]}"
  else
    "$VENV/bin/python" -m "${tests[@]}"
  fi
}

# show_help "$@": with --help, print the comment at the top of the script, and stop.
show_help() {
  case "${1:-}" in
    -h | --help)
      sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
      exit
      ;;
  esac
}

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3.14 python3.13 python3.12 python3.11 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "Python 3.11 or newer is needed. Set PYTHON to its path." >&2
  return 1
}

# install_locked PYTHON LOCK PACKAGE...: install what the lock file lists, with hashes checked,
# then the package. The lock lists the build backend too, so pip fetches nothing else.
install_locked() {
  local pip=("$1" -m pip install --quiet --disable-pip-version-check) lock=$2
  shift 2
  "${pip[@]}" --require-hashes --only-binary :all: --requirement "$lock"
  "${pip[@]}" --no-deps --no-build-isolation "$@"
}

# install NAME: create the virtual environment and install NAME's lock, unless that was done
# since pyproject.toml or a lock last changed.
install() {
  local versions stamp="$VENV/.installed"
  versions=$(cat pyproject.toml requirements/*.lock | cksum)
  grep -qxF "$1 $versions" "$stamp" 2> /dev/null && return
  if [ ! -x "$VENV/bin/python" ]; then
    echo "Creating $VENV ..." >&2
    "$(find_python)" -m venv "$VENV"
  fi
  echo "Installing requirements/$1.lock: about a minute the first time ..." >&2
  grep -qF " $versions" "$stamp" 2> /dev/null || rm -f "$stamp"
  install_locked "$VENV/bin/python" "requirements/$1.lock" --editable .
  echo "$1 $versions" >> "$stamp"
}

# install_debian PACKAGE...: say what is missing, then install it as root with apt-get.
install_debian() {
  echo "$0 needs these Debian packages, which are missing: $*" >&2
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
    echo "Install them and run it again: sudo apt-get install $*" >&2
    return 1
  fi
  echo "Installing them with apt-get ..." >&2
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" > /dev/null
}

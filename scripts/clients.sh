# shellcheck shell=bash
# Installs the real MCP clients once, with npm. Source it after lib.sh.
# MILLIMETRIC_INTEROP_CACHE is the directory; what it holds is used again.

CACHE=${MILLIMETRIC_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millimetric-interop}
export MILLIMETRIC_INTEROP_CACHE=$CACHE # scripts/interop changes HOME later

fetch() { npm install --prefix "$@" --no-audit --no-fund --no-package-lock --loglevel=error; }

# Node first: some clients need a newer one than most machines have.
install_clients() {
  mkdir -p "$CACHE"
  if ! cmp -s tests/interop/package.json "$CACHE/.installed"; then
    echo "Installing the clients into $CACHE: about two minutes the first time ..." >&2
    cp tests/interop/package.json "$CACHE/package.json"
    fetch "$CACHE/node" node@24.21.0
    PATH="$CACHE/node/node_modules/.bin:$PATH" fetch "$CACHE"
    cp tests/interop/package.json "$CACHE/.installed"
  fi
  export PATH="$VENV/bin:$CACHE/node_modules/.bin:$CACHE/node/node_modules/.bin:$PATH"
}

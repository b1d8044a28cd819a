#!/bin/sh
# Install what the system tests need and this machine lacks: a browser. Tests whose part is missing say so and skip.
set -eu
if command -v chromium >/dev/null || command -v chromium-browser >/dev/null; then
  exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing chromium (Debian package) for the report's browser test"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
else
  echo "no chromium here and no way to install it: the browser tests will be skipped"
fi

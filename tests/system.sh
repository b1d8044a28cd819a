#!/bin/sh
# Install what the system tests need and this machine lacks: a browser and Slurm (Debian packages).
# Tests whose part is missing afterwards say so and skip.
set -eu
wanted=
command -v chromium >/dev/null || wanted="$wanted chromium"
command -v slurmctld >/dev/null || wanted="$wanted slurm-wlm"
command -v munged >/dev/null || wanted="$wanted munge"
[ -n "$wanted" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing$wanted for the system tests"
  apt-get update -qq
  # shellcheck disable=SC2086 # a list of package names
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >/dev/null
else
  echo "missing and not installable here:$wanted; the tests that need them will be skipped"
fi

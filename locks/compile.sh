#!/bin/sh
# Compile the locks from pyproject.toml: hashes yes; index addresses and local paths no.
# torch stays out, also where others need it (without-torch.txt): pip installs it first, at the version that the
# Makefile names, with what it needs itself; so no lock decides between a CPU and a CUDA build.
# Later locks are held to the versions of earlier ones (tests/test_locks.py): they are installed over one another.
# usage: locks/compile.sh PYTHON UV
set -eu
cd "$(dirname "$0")/.."
python=$1
uv=$2
requirements() {
  "$python" - "$@" <<'PYTHON'
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))
wanted = list(project["project"]["dependencies"]) + project["build-system"]["requires"] + ["editables"]
for extra in sys.argv[1:]:
    wanted += project["project"]["optional-dependencies"][extra]
print("\n".join(line for line in wanted if not line.startswith("torch==")))
PYTHON
}
compile() { "$uv" pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 - "$@"; }
requirements | compile --output-file locks/core.lock
requirements curate | compile --constraint locks/core.lock --output-file locks/curate.lock
requirements curate languages | compile --override locks/without-sphinx.txt --constraint locks/core.lock --constraint locks/curate.lock --output-file locks/languages.lock
requirements dev figures | compile --constraint locks/core.lock --constraint locks/curate.lock --output-file locks/dev.lock
requirements train | compile --override locks/without-torch.txt --constraint locks/core.lock --constraint locks/curate.lock --output-file locks/train.lock
requirements train eval | compile --override locks/without-torch.txt --override locks/eval-overrides.txt --constraint locks/train.lock --constraint locks/curate.lock --output-file locks/eval.lock
requirements dev figures cluster | compile --constraint locks/dev.lock --constraint locks/curate.lock --output-file locks/cluster.lock

#!/bin/sh
# Writes constraints.txt (what a run needs) and constraints-test.txt (what tests and docs need too) anew: every version that
# pyproject.toml brings along, with the hashes of all its files. torch is left out with what its builds for GPUs bring,
# for they differ by machine: see the Makefile. Needs uv: pip install uv
set -eu
cd "$(dirname "$0")/.."
lock() {
    uv pip compile pyproject.toml --universal --python-version 3.11.5 --generate-hashes --no-annotate \
        --custom-compile-command 'sh envs/lock.sh' --no-emit-package torch --quiet "$@"
}
lock --extra slurm | awk '/^[a-z]/ {keep = !/^(nvidia|cuda|triton)-?/} keep || /^#/' >constraints.new
lock --extra slurm --extra test | awk '/^[a-z]/ {keep = !/^(nvidia|cuda)-/} keep || /^#/' >constraints-test.new
mv constraints.new constraints.txt
mv constraints-test.new constraints-test.txt

#!/bin/sh
# Writes all versions of packages anew, from the ranges of pyproject.toml: constraints.txt (what a run needs),
# constraints-test.txt (what tests and docs need too), both with the hashes of all files, and the list in convnova.yaml.
# A version that is there already stays, unless it is asked for otherwise: sh envs/lock.sh --upgrade, or
# --upgrade-package NAME. torch is left out with what its builds for GPUs bring, for they differ by machine; its version is
# that of constraints-torch.txt. Needs uv: pip install uv
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
cp constraints.txt constraints-test.txt "$folder"
compile() {
    uv pip compile pyproject.toml --universal --python-version 3.11 --fork-strategy fewest --no-annotate --quiet \
        --custom-compile-command 'sh envs/lock.sh' --constraints constraints-torch.txt --extra slurm "$@"
}
lock() {
    file=$1 left_out=$2
    shift 2
    compile --generate-hashes --no-emit-package torch --output-file "$folder/$file" "$@" >"$folder/printed"
    awk -v left_out="^($left_out)-?" '/^[a-z]/ {keep = $0 !~ left_out} keep || /^#/' "$folder/$file" >"$folder/$file.kept"
    mv "$folder/$file.kept" "$file"
}
lock constraints-test.txt 'nvidia|cuda' --extra test "$@"
lock constraints.txt 'nvidia|cuda|triton' --constraints constraints-test.txt
compile --no-deps --no-header --constraints constraints.txt >"$folder/direct"
{
    sed '/- pip:/q' envs/convnova.yaml
    sed 's/^/      - /' "$folder/direct"
} >"$folder/convnova.yaml"
mv "$folder/convnova.yaml" envs/convnova.yaml

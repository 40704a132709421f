#!/usr/bin/env bash
# Tests and measurements on a GPU, in about eight minutes:
#   benchmarks/gpu/run.sh [--out FOLDER] [--only tests,steps] [--rehearse]
# --rehearse runs every part on the CPU at tiny sizes. GNNPRE_DATA names the folder with downstream/;
# without it, crystals are computed on the spot. PYTHON names the interpreter.
# Packages that it lacks come from build/gpu-wheels, which benchmarks/gpu/wheels.sh fills.
set -u
cd "$(dirname "$0")/../.." || exit 1
python=${PYTHON:-python}
wheels=build/gpu-wheels packages=build/gpu-packages
is_312='import sys; sys.exit(sys.version_info[:2] != (3, 12))'
if [[ -f $wheels/requirements.txt ]] && "$python" -c "$is_312"; then
    "$python" -m pip install --quiet --no-index --no-deps --find-links "$wheels" \
        --target "$packages" --upgrade --requirement "$wheels/requirements.txt" || exit 1
    PYTHONPATH="$PWD/$packages${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m benchmarks.gpu "$@"

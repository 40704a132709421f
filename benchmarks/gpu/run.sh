#!/usr/bin/env bash
# Tests and measurements on a GPU, in about eight minutes:
#   benchmarks/gpu/run.sh [--out FOLDER] [--only tests,steps] [--rehearse]
# --rehearse runs every part on the CPU at tiny sizes. GNNPRE_DATA names the folder with downstream/;
# without it, crystals are computed on the spot. PYTHON names the interpreter.
set -u
cd "$(dirname "$0")/../.." || exit 1
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" -m benchmarks.gpu "$@"

#!/usr/bin/env bash
# Load the wheels that the GPU machine (Linux, Python 3.12, with torch, torch-geometric, scikit-learn,
# joblib, safetensors, pandas, pyarrow, scipy and tqdm, without a network) lacks, in the versions of
# constraints.txt:
#   benchmarks/gpu/wheels.sh [FOLDER]          default: build/gpu-wheels
# benchmarks/gpu/run.sh installs those in build/gpu-wheels into build/gpu-packages before it starts.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-build/gpu-wheels}
names=(
    skorch tabulate
    pymatgen-core pymatgen monty ruamel.yaml uncertainties palettable
    spglib ase periodictable pooch platformdirs
    optuna alembic Mako colorlog SQLAlchemy
    click cloudpickle orjson threadpoolctl
    pytest pytest-xdist execnet iniconfig pluggy packaging Pygments
)
mkdir -p "$folder"
for name in "${names[@]}"; do
    grep -i "^$name==" constraints.txt
done > "$folder/requirements.txt"
"${PYTHON:-python}" -m pip download --quiet --disable-pip-version-check --no-deps \
    --only-binary :all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
    --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --platform any \
    --dest "$folder" --requirement "$folder/requirements.txt"
du --summarize --human-readable "$folder"

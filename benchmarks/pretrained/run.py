"""Prepare data, train, evaluate, write cards and leak keys, install."""

import argparse
import hashlib
import json
import os
import shutil
import time
from pathlib import Path

from gnnpre import CrystalGraphs, FrameLabels, Pretrainer, StructureToGraph
from gnnpre.pretrained import write_release
from gnnpre.pretrained._catalogue import CHECKSUMS, FOLDER, SUFFIX

from .card import git_commit, make_card
from .evaluate import held_out_errors
from .frames import align_energies, read_training_frames
from .keys import keys_of
from .recipes import CUTOFF, RECIPES, Recipe
from .structures import read_training_set

__all__ = ["install", "run"]


def run(arguments: argparse.Namespace) -> None:
    folder: Path = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.only or RECIPES:
        recipe = RECIPES[name]
        graphs, labels = training_data(recipe, folder)
        path = folder / f"{name}{SUFFIX}"
        if not path.exists():
            train(recipe, graphs, labels, folder, path)
        if not recipe.is_released:
            continue
        release(recipe, graphs, labels, folder)
        if arguments.install:
            install(folder / "released" / path.name)


def training_data(recipe: Recipe, folder: Path) -> tuple[CrystalGraphs, FrameLabels]:
    """Return graphs and labels, built once in the work folder."""
    graphs, labels = folder / f"{recipe.data}.graphs", folder / f"{recipe.data}.labels"
    if not labels.exists():  # written last
        print(f"building graphs of {recipe.data}", flush=True)
        read = {"structures": read_training_set, "frames": read_training_frames}[recipe.data]
        crystals, columns = read(Path(os.environ["GNNPRE_DATA"]))
        built = StructureToGraph(CUTOFF).fit_transform(crystals)
        built.save(graphs)
        if recipe.data == "frames":
            base = Pretrainer.load(folder / f"gnnpre-1-first{SUFFIX}")
            columns = align_energies(built, columns, base)
        columns.save(labels)
    return CrystalGraphs.load(graphs), FrameLabels.load(labels)


def train(
    recipe: Recipe, graphs: CrystalGraphs, labels: FrameLabels, folder: Path, path: Path
) -> None:
    """Train a model, or go on with its training, and save it without paths of this machine."""
    print(f"training {recipe.name} on {graphs}", flush=True)
    start = time.process_time()
    pretrainer = recipe.pretrainer(folder)
    pretrainer.fit(graphs, labels, groups=labels.groups(recipe.groups))
    hours = (time.process_time() - start) / 3600
    if recipe.start:
        hours += json.loads((folder / f"{recipe.start}.json").read_text())["cpu_hours"]
    record = {"cpu_hours": round(hours, 3), "commit": git_commit()}
    (folder / f"{recipe.name}.json").write_text(json.dumps(record))
    pretrainer.set_params(checkpoint_dir=None, resume=False, callbacks=None, verbose=0)
    pretrainer.save(path)


def release(recipe: Recipe, graphs: CrystalGraphs, labels: FrameLabels, folder: Path) -> None:
    """Write a copy of a trained model with its card and its leak keys."""
    source = folder / f"{recipe.name}{SUFFIX}"
    target = folder / "released" / source.name
    target.parent.mkdir(exist_ok=True)
    pretrainer = Pretrainer.load(source)
    # Hours and commit of the training.
    run_record = json.loads((folder / f"{recipe.name}.json").read_text())
    errors = held_out_errors(recipe, pretrainer, graphs, labels)
    card = make_card(recipe, pretrainer, graphs, labels, errors, run_record)
    pretrainer.save(target)
    write_release(target, card, keys_of(recipe, graphs, labels, folder))
    print(f"wrote {target} ({target.stat().st_size / 1e6:.1f} MB)", flush=True)


def install(path: Path) -> None:
    """Copy a released model into the package, and note its checksum."""
    FOLDER.mkdir(exist_ok=True)
    shutil.copyfile(path, FOLDER / path.name)
    sums = FOLDER / CHECKSUMS
    digests = json.loads(sums.read_text()) if sums.exists() else {}
    digests[path.stem] = hashlib.sha256(path.read_bytes()).hexdigest()
    sums.write_text(json.dumps(dict(sorted(digests.items())), indent=1) + "\n")
    print(f"installed {path.name}: {', '.join(sorted(digests))} in the package")

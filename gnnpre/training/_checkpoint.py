"""Models on disk: safetensors for weights, JSON for all else, in a folder or a zip file.

Nothing in such a file is executed: no pickle, no import path.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

from torch import Tensor

from gnnpre._atomic import finish_folder_swap, remove_stale, replace_file, replace_folder
from gnnpre._storage import plain

__all__ = ["load_checkpoint", "save_checkpoint"]

FORMAT = 1
WEIGHTS, CONFIG = "weights.safetensors", "config.json"


def save_checkpoint(path: str | Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write a model to ``path``: one zip file where it has a suffix, else a folder."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    text = json.dumps({"format": FORMAT, **config}, indent=1, default=plain)
    files = {WEIGHTS: save(tensors), CONFIG: text.encode()}
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r} to save {path.name} in.")
    if path.suffix:
        with replace_file(path) as new:
            _write_zip(new, files)
    else:
        with replace_folder(path, check=_check_replaceable) as new:
            _write_folder(new, files)


def _write_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def _write_folder(path: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (path / name).write_bytes(content)


def _check_replaceable(path: Path) -> None:
    """Check that ``path`` is a checkpoint folder, of which nothing else is lost."""
    if path.is_file():
        raise FileExistsError(
            f"{str(path)!r} is a file, and a name without a suffix is saved as a folder: it is not "
            "overwritten. Save to a file such as model.gnnpre, or to a new folder."
        )
    others = {entry.name for entry in path.iterdir()} - {WEIGHTS, CONFIG}
    if others:
        raise FileExistsError(
            f"{str(path)!r} is a folder that holds {sorted(others)[:3]}: it is not overwritten. "
            "Save to a new folder, or to a file such as model.gnnpre."
        )


def load_checkpoint(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and config of a ``kind`` of model."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    finish_folder_swap(path)
    remove_stale(Path(path).parent, Path(path).name)
    if not Path(path).exists():
        raise FileNotFoundError(f"There is no checkpoint {str(path)!r}.")
    try:
        files = _read(Path(path))
        config = json.loads(files[CONFIG])
        weights = load(files[WEIGHTS])
    except (KeyError, OSError, ValueError, zipfile.BadZipFile, SafetensorError) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as a checkpoint ({error}): expected a zip file or a "
            f"folder with {WEIGHTS} and {CONFIG}. It is truncated or of another format: save it "
            "again."
        ) from error
    _check_config(path, config, kind)
    return weights, config


def _read(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {name: (path / name).read_bytes() for name in (WEIGHTS, CONFIG)}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in (WEIGHTS, CONFIG)}


def _check_config(path: str | Path, config: Any, kind: str) -> None:
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"{str(path)!r} is a checkpoint of format {found}; this version reads {FORMAT}."
        )
    if config.get("kind") != kind:
        raise ValueError(f"{str(path)!r} holds a {config.get('kind')}; expected a {kind}.")

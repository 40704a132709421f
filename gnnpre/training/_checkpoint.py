"""Models on disk: safetensors for weights, JSON for all else, in a folder or a zip file.

Nothing in such a file is executed: no pickle, no import path. A file may come from a stranger or be
damaged, so that nothing in it is believed before it has been checked.
"""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnnpre._atomic import finish_folder_swap, remove_stale, replace_file, replace_folder
from gnnpre._storage import UnsuitableFileError, plain, reading
from gnnpre._validation import check_path
from gnnpre._version import __version__

__all__ = ["load_checkpoint", "save_checkpoint"]

FORMAT = 1
WEIGHTS, CONFIG = "weights.safetensors", "config.json"
# Names of the files of a folder for a model hub.
HUB_WEIGHTS, README = "model.safetensors", "README.md"
REMEDY = "It is truncated or of another format, or was changed: save it again."


def save_checkpoint(
    path: str | Path, weights: dict[str, Tensor], config: dict[str, Any], readme: str | None = None
) -> None:
    """Write a model to ``path``: one zip file if it has a suffix, else a folder.

    With a ``readme`` it is a folder with the names of files that model hubs expect.
    """
    from safetensors.torch import save

    check_path("path", path)
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r} to save {path.name} in.")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    content = save(tensors)
    # The files of a folder may be damaged, or mixed up with those of another one.
    header = {"format": FORMAT, "weights_sha256": hashlib.sha256(content).hexdigest()}
    text = json.dumps({**header, **config}, indent=1, default=plain)
    files = {WEIGHTS: content, CONFIG: text.encode()}
    if readme is not None:
        files = {HUB_WEIGHTS: content, CONFIG: text.encode(), README: readme.encode()}
    if path.suffix and readme is None:
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
    foreign = {entry.name for entry in path.iterdir()} - {WEIGHTS, HUB_WEIGHTS, CONFIG, README}
    if foreign:
        raise FileExistsError(
            f"{str(path)!r} is a folder that holds {sorted(foreign)[:3]}: it is not overwritten. "
            "Save to a new folder, or to a file such as model.gnnpre."
        )


def load_checkpoint(path: str | Path, class_name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights and the config of a model of the estimator ``class_name``.

    Raises
    ------
    ValueError
        If the file is damaged, of another format or version, or holds another estimator.
    FileNotFoundError
        If there is no such file.
    """
    check_path("path", path)
    path = Path(path)
    # A save that was interrupted left the old folder or the new one under another name.
    finish_folder_swap(path)
    remove_stale(path.parent, path.name)
    if not path.exists():
        raise FileNotFoundError(f"There is no checkpoint {str(path)!r}.")
    with reading(path, REMEDY):
        files = _read(path)
        config = json.loads(files[CONFIG])
        _check_config(config, class_name)
        # Weights of one save beside the config of another would load without an error.
        if hashlib.sha256(files[WEIGHTS]).hexdigest() != config.get("weights_sha256"):
            raise ValueError(f"{WEIGHTS} differs from what was saved (checksum)")
        weights = _parse_weights(files[WEIGHTS])
    return weights, config


def _read(path: Path) -> dict[str, bytes]:
    """Read both files as a whole; the sizes that an archive claims are not believed."""
    try:
        return _read_folder(path) if path.is_dir() else _read_zip(path)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"expected a zip file or a folder with {WEIGHTS} and {CONFIG} ({error})"
        ) from error


def _read_folder(path: Path) -> dict[str, bytes]:
    is_hub = (path / HUB_WEIGHTS).exists() and not (path / WEIGHTS).exists()
    weights = path / (HUB_WEIGHTS if is_hub else WEIGHTS)
    return {WEIGHTS: weights.read_bytes(), CONFIG: (path / CONFIG).read_bytes()}


def _read_zip(path: Path) -> dict[str, bytes]:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        for name in (WEIGHTS, CONFIG):
            info = archive.getinfo(name)
            # Stored members cannot be larger than the file: an archive that unpacks to gigabytes
            # or that needs a password is none that save wrote.
            is_plain = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
            if not is_plain or info.file_size > size:
                raise ValueError(f"{name} is compressed or encrypted in the zip file")
        return {name: archive.read(name) for name in (WEIGHTS, CONFIG)}


def _parse_weights(content: bytes) -> dict[str, Tensor]:
    """Return the weights, once all of them are finite."""
    from safetensors.torch import load

    weights: dict[str, Tensor] = load(content)
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"the weight {name!r} holds NaN or infinite numbers")
    return weights


def _check_config(config: Any, class_name: str) -> None:
    version = config.get("format") if isinstance(config, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise UnsuitableFileError(
            f"is of format {version}, and gnnpre {__version__} reads format {FORMAT}: upgrade "
            "gnnpre to load it."
        )
    if version != FORMAT:
        raise ValueError(f"it is of format {version}; this version reads {FORMAT}")
    if config.get("kind") != class_name:
        saved = str(config.get("kind"))
        raise UnsuitableFileError(
            f"holds a {saved}; expected a {class_name}. {saved}.load reads it."
        )

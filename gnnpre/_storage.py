"""Named tensors in one safetensors file, with a JSON header: no pickle, read by memory mapping."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ._atomic import write_file
from ._validation import check_path

__all__ = [
    "UnsuitableFileError",
    "file_metadata",
    "load_tensors",
    "plain",
    "reading",
    "save_tensors",
]

FORMAT = 2


class UnsuitableFileError(ValueError):
    """Error about a sound file that is used wrongly; the message says how to use it.

    ``reading`` puts the path before it, and does not advise to save the file again.
    """


def save_tensors(
    path: str | Path, tensors: Mapping[str, torch.Tensor], *, kind: str, metadata: Mapping[str, Any]
) -> None:
    """Write ``tensors`` and JSON-able ``metadata`` to ``path``, all of it or nothing."""
    from safetensors.torch import save

    header = {"format": FORMAT, "kind": kind, **metadata}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(header, default=plain)
    # save_file would leave a file under a name of its own behind when it is killed.
    write_file(path, save(contiguous, metadata=file_metadata(text, contiguous)))


def file_metadata(header: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Return the metadata of a safetensors file: the JSON header, and a digest of all content."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content: Any = tensor.reshape(-1).view(torch.uint8).numpy()
        digest.update(content)
    return {"gnnpre": header, "sha256": digest.hexdigest()}


def plain(value: Any) -> Any:
    """Return a NumPy scalar as a Python one, and anything else as text."""
    return value.item() if hasattr(value, "item") else str(value)


@contextmanager
def reading(path: str | Path, remedy: str = "Save it again.") -> Iterator[None]:
    """Turn any error of the body, which reads ``path``, into a ValueError that names the file.

    A file may hold anything, and what is wrong with it shows up as a KeyError, a RecursionError
    or whatever else. Errors of the operating system and of memory are left alone.
    """
    try:
        yield
    except (OSError, MemoryError):
        raise
    except UnsuitableFileError as error:
        raise ValueError(f"{str(path)!r} {error}") from error
    except Exception as error:
        text = str(error).removesuffix(".")
        reason = text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
        raise ValueError(f"{str(path)!r} cannot be read: {reason}. {remedy}") from error


def load_tensors(
    path: str | Path, *, kind: str, remedy: str = "Save it again."
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read the tensors (memory-mapped) and metadata that :func:`save_tensors` wrote.

    ``remedy`` ends the message of the error about a file that is damaged or holds something else.
    """
    check_path("path", path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r} to load {kind} from.")
    with reading(path, remedy):
        tensors, metadata = _open(path)
        text = metadata.get("gnnpre", "{}")
        header = json.loads(text)
        _check_header(header, kind)
        if file_metadata(text, tensors)["sha256"] != metadata.get("sha256"):
            raise ValueError("its content differs from what was saved (checksum): it is damaged")
    return tensors, {key: header[key] for key in header if key not in ("kind", "format")}


def _open(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"it is truncated or of another format ({error})") from error


def _check_header(header: Any, kind: str) -> None:
    if not isinstance(header, Mapping):
        raise ValueError(f"its header is a {type(header).__name__}; expected a JSON object")
    if header.get("kind") != kind or header.get("format") != FORMAT:
        raise ValueError(
            f"it holds {header.get('kind', 'something else')!r} in format {header.get('format')}; "
            f"expected {kind!r} in format {FORMAT}"
        )

"""Named tensors in one safetensors file, with a JSON header: no pickle, read by memory mapping."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ._atomic import write_file

__all__ = ["load_tensors", "plain", "save_tensors"]

FORMAT = 1


def save_tensors(
    path: str | Path, tensors: Mapping[str, torch.Tensor], *, kind: str, metadata: Mapping[str, Any]
) -> None:
    """Write ``tensors`` and JSON-able ``metadata`` to ``path``, all of it or nothing."""
    from safetensors.torch import save

    header = {"format": FORMAT, "kind": kind, **metadata}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # save_file would leave a file under a name of its own behind when it is killed.
    write_file(path, save(contiguous, metadata={"gnnpre": json.dumps(header, default=plain)}))


def plain(value: Any) -> Any:
    """Give a NumPy scalar as a Python one, and anything else as text."""
    return value.item() if hasattr(value, "item") else str(value)


def load_tensors(path: str | Path, *, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what :func:`save_tensors` wrote, memory-mapped: tensors and metadata."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r} to load {kind} from.")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("gnnpre", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as safetensors ({error}): it is truncated or of "
            "another format. Save it again."
        ) from error
    _check_header(path, header, kind)
    return tensors, {key: header[key] for key in header if key not in ("kind", "format")}


def _check_header(path: str | Path, header: Mapping[str, Any], kind: str) -> None:
    if header.get("kind") != kind or header.get("format") != FORMAT:
        raise ValueError(
            f"{str(path)!r} holds {header.get('kind', 'something else')!r} in format "
            f"{header.get('format')}; expected {kind!r} in format {FORMAT}."
        )

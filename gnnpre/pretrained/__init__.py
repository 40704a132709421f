"""Pre-trained models that ship with the package: names, files, model cards and leak keys."""

from ._card import ModelCard, describe_pretrained
from ._catalogue import FORCE_FIELD as FORCE_FIELD
from ._catalogue import is_shipped, list_pretrained, resolve_model
from ._catalogue import shipped_checksum as shipped_checksum
from ._leak_keys import LeakKeys, read_leak_keys
from ._leak_keys import text_digests as text_digests
from ._release import write_release

__all__ = [
    "LeakKeys",
    "ModelCard",
    "describe_pretrained",
    "is_shipped",
    "list_pretrained",
    "read_leak_keys",
    "resolve_model",
    "write_release",
]

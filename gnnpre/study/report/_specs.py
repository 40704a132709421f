"""Configs of records as text."""

import inspect
from collections.abc import Mapping
from typing import Any

from gnnpre import backbones, fingerprints, objectives, training

__all__ = ["describe_spec"]


def describe_spec(spec: Any) -> str:
    """Write a config as Python would, without parameters that have their defaults.

    Examples
    --------
    >>> from gnnpre.study.report._specs import describe_spec
    >>> describe_spec({"class": "Denoising", "noise": 0.3})
    'Denoising(noise=0.3)'
    """
    if isinstance(spec, Mapping) and isinstance(spec.get("class"), str):
        defaults = _defaults(spec["class"])
        arguments = [
            f"{name}={describe_spec(value)}"
            for name, value in spec.items()
            if name != "class" and not (name in defaults and _is_equal(value, defaults[name]))
        ]
        return f"{spec['class']}({', '.join(arguments)})"
    if isinstance(spec, Mapping):
        return f"{{{', '.join(f'{key}: {describe_spec(item)}' for key, item in spec.items())}}}"
    if isinstance(spec, (list, tuple)):
        return f"[{', '.join(map(describe_spec, spec))}]"
    return spec if isinstance(spec, str) else repr(spec)


def _defaults(name: str) -> dict[str, Any]:
    """Return the defaults of a class of gnnpre; none of a class that it does not know."""
    for module in (objectives, fingerprints, backbones, training):
        if name in module.__all__:
            parameters = inspect.signature(getattr(module, name)).parameters.values()
            return {p.name: p.default for p in parameters if p.default is not p.empty}
    return {}


def _is_equal(stored: Any, default: Any) -> bool:
    # JSON turns tuples into lists.
    return bool(stored == (list(default) if isinstance(default, tuple) else default))

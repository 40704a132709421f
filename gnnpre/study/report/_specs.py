"""Configs of records as text."""

import inspect
from collections.abc import Mapping
from typing import Any

from gnnpre import backbones, fingerprints, objectives, training

__all__ = ["describe_spec"]


def describe_spec(spec: Any) -> str:
    """Write a config as Python would, without parameters that have their defaults.

    ``spec`` is of the form that :func:`gnnpre.training.to_spec` returns.

    Examples
    --------
    >>> from gnnpre import Denoising
    >>> from gnnpre.study.report._specs import describe_spec
    >>> from gnnpre.training import to_spec
    >>> describe_spec(to_spec(Denoising(noise=0.3)))
    'Denoising(noise=0.3)'
    """
    if not isinstance(spec, Mapping):
        return repr(spec)
    if "list" in spec:
        return f"[{', '.join(map(describe_spec, spec['list']))}]"
    if "tuple" in spec:
        items = ", ".join(map(describe_spec, spec["tuple"]))
        return f"({items},)" if len(spec["tuple"]) == 1 else f"({items})"
    if "dict" in spec:
        return f"{{{', '.join(': '.join(map(describe_spec, pair)) for pair in spec['dict'])}}}"
    name = str(spec.get("class"))
    params, defaults = dict(spec.get("params") or {}), _defaults(name)
    changed = {k: v for k, v in params.items() if k not in defaults or v != defaults[k]}
    return f"{name}({', '.join(f'{key}={describe_spec(v)}' for key, v in changed.items())})"


def _defaults(name: str) -> dict[str, Any]:
    """Return the defaults of a class of gnnpre as specs; none of a class that it does not know."""
    for module in (objectives, fingerprints, backbones, training):
        if name in module.__all__:
            parameters = inspect.signature(getattr(module, name)).parameters.values()
            return {p.name: training.to_spec(p.default) for p in parameters if _has_default(p)}
    return {}


def _has_default(parameter: inspect.Parameter) -> bool:
    return parameter.default is not inspect.Parameter.empty

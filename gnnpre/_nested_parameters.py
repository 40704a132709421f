"""Setting parameters of parts of an estimator, with errors that name the part that is not there."""

from collections.abc import Mapping
from typing import Any, Self

__all__ = ["NestedParametersMixin"]

_EXAMPLES = {
    "backbone": "CGCNN()",
    "objective": "ForceField()",
    "pretraining": "Pretrainer(CGCNN(), Denoising())",
    "fingerprint": "EAD()",
    "teacher": "EAD()",
}


class NestedParametersMixin:
    """Mixin whose ``set_params`` explains why ``backbone__hidden_channels`` cannot be set."""

    def set_params(self, **params: Any) -> Self:
        """Set parameters.

        Parameters
        ----------
        **params : dict
            From name to value; ``backbone__hidden_channels`` is a parameter of ``backbone``.

        Returns
        -------
        self : object
            This object.

        Raises
        ------
        ValueError
            If there is no such parameter, or the object that should have it is not set.
        """
        _check_parts(self.get_params(deep=False), params)  # type: ignore[attr-defined]
        return super().set_params(**params)  # type: ignore[misc]


def _check_parts(values: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Check that objects whose parameters are to be set have parameters."""
    for key in params:
        name, delimiter, _ = key.partition("__")
        value = params.get(name, values.get(name))
        if not delimiter or name not in values or _has_parameters(value):
            continue
        cure = f"set {name} itself first, to {_EXAMPLES.get(name, 'an object')} for example"
        if isinstance(value, (list, tuple)):
            cure = (
                f"set the whole list; a search takes several of them, {{{name!r}: [[...], [...]]}}"
            )
        raise ValueError(
            f"{key} cannot be set, because {name}={value!r:.60} has no parameters: {cure}."
        )


def _has_parameters(value: Any) -> bool:
    return hasattr(value, "set_params") and not isinstance(value, type)

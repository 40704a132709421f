"""Parameters of the members of an ensemble, by the names of the members."""

from typing import Any, Self

from gnnpre._nested_parameters import NestedParametersMixin

__all__ = ["NamedMembersMixin"]


class NamedMembersMixin(NestedParametersMixin):
    """Mixin whose parameter ``members`` is a list of names and estimators, or None.

    As in ``VotingRegressor``, a name stands for an estimator, and ``name__parameter`` for one of
    its parameters.
    """

    members: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters.

        Parameters
        ----------
        deep : bool
            Whether to include the members by name, and their parameters.

        Returns
        -------
        dict
            From name to value.
        """
        params: dict[str, Any] = super().get_params(deep)  # type: ignore[misc]
        if deep:
            for name, member in self._pairs():
                params[name] = member
                if hasattr(member, "get_params"):
                    nested = member.get_params(deep=True)
                    params |= {f"{name}__{key}": value for key, value in nested.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters.

        Parameters
        ----------
        **params : dict
            From name to value; see :meth:`get_params`.

        Returns
        -------
        self : object
            This object.

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        if "members" in params:
            self.members = params.pop("members")
        # A new list: the one that the user passed stays as it is.
        if any(name in params for name, _ in self._pairs()):
            self.members = [(name, params.pop(name, member)) for name, member in self._pairs()]
        return super().set_params(**params)

    def _pairs(self) -> list[tuple[str, Any]]:
        """Return the members, none where they are not pairs, or named like a parameter."""
        try:
            pairs = [(name, member) for name, member in self.members or []]
        except (TypeError, ValueError):  # fit explains it
            return []
        parameters = super().get_params(deep=False)  # type: ignore[misc]
        return [pair for pair in pairs if isinstance(pair[0], str) and pair[0] not in parameters]

"""Published interatomic potentials as transformers: features of atoms from their networks."""

from ._features import FoundationFeatures

__all__ = ["FoundationFeatures"]

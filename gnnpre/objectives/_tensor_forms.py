"""Tensors of crystals in the forms that users hold, and in coordinates that rotations keep.

Coordinates refer to an orthonormal basis, so that their Euclidean norm is the Frobenius norm of
the tensor, which does not depend on the axes (Mandel's notation for matrices [1]_; Voigt's six
numbers lack a factor of the square root of two).

.. [1] M. M. Mehrabadi and S. C. Cowin, "Eigentensors of linear anisotropic elastic materials",
   Q. J. Mech. Appl. Math. 43, 15 (1990), equations 2.7 to 2.11.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["MATRIX_BASIS", "TENSOR_FORMS", "TensorForm", "stiffness_basis"]

# Voigt's order: xx, yy, zz, yz, xz, xy.
VOIGT_ROWS, VOIGT_COLUMNS = (0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)
SHEAR_FACTORS = np.array([1.0, 1.0, 1.0, np.sqrt(2), np.sqrt(2), np.sqrt(2)])
# Entries of one tensor that should be equal may differ by this fraction of its largest entry, as
# those of rounded files do; they are averaged.
LARGEST_ASYMMETRY = 1e-3


def _matrix_basis() -> np.ndarray:
    basis = np.zeros((6, 3, 3))
    for index, (i, j) in enumerate(zip(VOIGT_ROWS, VOIGT_COLUMNS, strict=True)):
        basis[index, i, j] += 0.5
        basis[index, j, i] += 0.5
    return basis * SHEAR_FACTORS[:, None, None]


#: Orthonormal basis (6, 3, 3) of the symmetric matrices.
MATRIX_BASIS = _matrix_basis()


@lru_cache(maxsize=1)
def stiffness_basis() -> np.ndarray:
    """Return the orthonormal basis (21, 6, 6) of the symmetric 6x6 matrices, row by row."""
    rows, columns = np.triu_indices(6)
    basis = np.zeros((21, 6, 6))
    basis[np.arange(21), rows, columns] += 0.5
    basis[np.arange(21), columns, rows] += 0.5
    factors = np.where(rows == columns, 1.0, np.sqrt(2))
    return basis * factors[:, None, None]


def _stiffness_to_voigt() -> np.ndarray:
    """Return the map (36, 21) from coordinates to the 6x6 matrix in Voigt's notation."""
    matrices = stiffness_basis() / np.outer(SHEAR_FACTORS, SHEAR_FACTORS)
    return matrices.reshape(21, 36).T


def _isotropic_stiffness() -> np.ndarray:
    """Return the coordinates (2, 21) of the isotropic tensors: of compression, and of shear."""
    trace = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    compression = np.outer(trace, trace) / 3
    shear = (np.eye(6) - compression) / np.sqrt(5)
    return np.einsum("aij,kij->ka", stiffness_basis(), [compression, shear])


@dataclass(frozen=True, eq=False)
class TensorForm:
    """One form of a tensor.

    Parameters
    ----------
    name : str
        Name of the form, which model files store.
    rank : {"vector", "matrix", "stiffness"}
        Kind of tensor.
    shape : tuple of int
        Shape of one tensor in this form.
    expansion : ndarray of shape (prod(shape), d)
        Map from the d coordinates to the numbers of the form.
    isotropic : ndarray of shape (k, d)
        Orthonormal coordinates of the tensors that no rotation changes.
    """

    name: str
    rank: str
    shape: tuple[int, ...]
    expansion: np.ndarray
    isotropic: np.ndarray

    def to_coordinates(self, values: np.ndarray) -> np.ndarray:
        """Return the coordinates (n, d) of tensors; entries that should agree are averaged."""
        flat = values.reshape(len(values), -1)
        coordinates: np.ndarray = flat @ np.linalg.pinv(self.expansion).T
        return coordinates

    def to_values(self, coordinates: np.ndarray) -> np.ndarray:
        """Return tensors (n, ...) of coordinates (n, d)."""
        return (coordinates @ self.expansion.T).reshape(len(coordinates), *self.shape)

    def asymmetric_rows(self, values: np.ndarray) -> np.ndarray:
        """Return the rows of tensors that lack the symmetry, by more than rounding."""
        difference = np.abs(values - self.to_values(self.to_coordinates(values)))
        axes = tuple(range(1, values.ndim))
        largest = np.abs(values).max(axis=axes)
        rows: np.ndarray = np.flatnonzero(difference.max(axis=axes) > LARGEST_ASYMMETRY * largest)
        return rows


def _forms() -> dict[str, TensorForm]:
    trace = np.array([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]]) / np.sqrt(3)
    stiffness = _stiffness_to_voigt()
    upper = np.ravel_multi_index(np.triu_indices(6), (6, 6))
    isotropic = _isotropic_stiffness()
    forms = [
        TensorForm("vector", "vector", (3,), np.eye(3), np.empty((0, 3))),
        TensorForm("matrix", "matrix", (3, 3), MATRIX_BASIS.reshape(6, 9).T, trace),
        TensorForm("voigt", "matrix", (6,), np.diag(1 / SHEAR_FACTORS), trace),
        TensorForm("stiffness", "stiffness", (6, 6), stiffness, isotropic),
        TensorForm("stiffness_upper", "stiffness", (21,), stiffness[upper], isotropic),
    ]
    return {form.name: form for form in forms}


#: All forms by name.
TENSOR_FORMS = _forms()

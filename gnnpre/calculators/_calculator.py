"""A pre-trained force field as a calculator of ASE."""

from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from gnnpre.graphs import as_crystals

from ._force_field_model import ForceFieldFunction

__all__ = ["ForceFieldCalculator"]


class ForceFieldCalculator(Calculator):
    """Calculator of ASE on a force field that :class:`gnnpre.Pretrainer` has learnt.

    It computes energies, forces and stress for relaxations, molecular dynamics, phonons and all
    else that ASE does. The neighbour list is kept while atoms and cell move little enough for it
    to hold every edge within the cutoff.

    Parameters
    ----------
    model : str, Path or Pretrainer
        The name ``"gnnpre-1-forces"``, the file of a pre-trained model, or the fitted estimator.
        Its objective is a
        :class:`gnnpre.ForceField`, or a :class:`gnnpre.Mixture` with one.
    skin : float, default=0.5
        Additional reach of the neighbour list in Å. More skin means fewer searches and more
        edges to sort out; 0 searches at each step.
    dtype : {"float32", "float64"}, default="float32"
        Precision of the network. ``"float64"`` gives smooth energies for phonons and tight
        relaxations, in about twice the time. Energies are summed in float64 in both.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``; ``"auto"`` takes a GPU if there is one.
    atoms : ase.Atoms, optional
        Atoms that get this calculator.
    label : str, optional
        Name that ASE keeps with the calculator.
    directory : str, default="."
        Folder that ASE keeps with it; nothing is written there.

    Attributes
    ----------
    n_searches : int
        Number of neighbour searches so far.

    Raises
    ------
    TypeError, ValueError
        If the model has no forces, or a parameter is out of range.
    FileNotFoundError
        If there is no such file.

    See Also
    --------
    relax_structures : Relax many crystals at once.

    Notes
    -----
    Units are ASE's: eV, eV/Å and eV/Å^3, stress positive in tension. `energy` and `free_energy`
    are the same. `stress` needs a crystal that is periodic in all directions. `energies`, the
    share of each atom, includes the reference energy of its element; it needs
    ``readout="late"``, and its sum is the energy.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from gnnpre import CGCNN, ForceField, Pretrainer
    >>> from gnnpre.calculators import ForceFieldCalculator
    >>> from gnnpre.datasets import make_emt_frames
    >>> frames, labels = make_emt_frames(8, random_state=0)
    >>> pretrainer = Pretrainer(CGCNN(8, 1), ForceField(), max_epochs=1, random_state=0)
    >>> copper = bulk("Cu", cubic=True)
    >>> copper.calc = ForceFieldCalculator(pretrainer.fit(frames, labels))
    >>> copper.get_forces().shape
    (4, 3)
    """

    # ASE declares it as an attribute of instances.
    implemented_properties = ["energy", "free_energy", "forces", "stress", "energies"]  # noqa: RUF012

    def __init__(
        self,
        model: Any,
        *,
        skin: float = 0.5,
        dtype: str = "float32",
        device: str = "auto",
        atoms: Any = None,
        label: str | None = None,
        directory: str = ".",
    ) -> None:
        # By name: ASE takes a parameter of any name, a misspelt one too.
        super().__init__(atoms=atoms, label=label, directory=directory)
        self._function = ForceFieldFunction(model, skin, dtype, device)

    @property
    def n_searches(self) -> int:
        """Number of neighbour searches so far."""
        return self._function.n_searches

    def calculate(
        self,
        atoms: Any = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Compute the properties of atoms; ASE calls it.

        Parameters
        ----------
        atoms : ase.Atoms, optional
            The atoms.
        properties : list of str
            Names of the properties to compute.
        system_changes : list of str
            Attributes of the atoms that changed since the last call.
        """
        super().calculate(atoms, properties, system_changes)
        crystals = as_crystals([self.atoms])  # ASE has made a copy of the atoms
        self._function.warn_of_unseen_elements(crystals)
        values = self._function(crystals)
        energy = float(values["energy"][0])
        self.results = {"energy": energy, "free_energy": energy, "forces": values["forces"]}
        if np.isfinite(values["stress"]).all():
            self.results["stress"] = full_3x3_to_voigt_6_stress(values["stress"][0])
        elif "stress" in properties:
            raise PropertyNotImplementedError(
                "stress needs atoms that are periodic in all three directions; pbc is "
                f"{crystals.pbc[0].tolist()}."
            )
        if "energies" in properties:
            self.results["energies"] = self._function.atom_energies(crystals)

"""Ionic steps of VASP whose electrons have not converged."""

import pytest

from gnnpre.datasets import read_frames, read_structures
from gnnpre.datasets._vasp_convergence import electronic_convergence
from gnnpre.exceptions import DataQualityWarning

CELL = """<crystal><varray name="basis"><v>2 0 0</v><v>0 2 0</v><v>0 0 2</v></varray></crystal>
<varray name="positions"><v>0 0 0</v></varray></structure>"""
HEAD = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
<kpoints><varray name="kpointlist"><v>0 0 0</v></varray>
<varray name="weights"><v>1</v></varray></kpoints>
<parameters><i type="int" name="NELM"> 4</i><i name="EDIFF"> 0.001</i>
<separator name="response functions"><i type="int" name="NELM"> 1</i></separator></parameters>
<atominfo><array name="atoms"><set><rc><c>Cu</c><c>1</c></rc></set></array></atominfo>
<structure name="initialpos">{CELL}
"""


def energies(*values: float) -> str:
    names = ("e_fr_energy", "e_0_energy")
    return "".join(
        f"<energy>{''.join(f'<i name={name!r}> {value} </i>' for name in names)}</energy>"
        for value in values
    ).replace("'", '"')


def vasprun(*steps: list[float]) -> str:
    """Return a file with these energies of the electronic steps of each ionic step."""
    calculations = [
        "<calculation>\n"
        + "".join(f"<scstep>\n{energies(value)}\n</scstep>\n" for value in step)
        + f"<structure>{CELL}\n<varray name='forces'><v>0 0 0</v></varray>\n"
        + f"{energies(step[-1])}\n</calculation>\n"
        for step in steps
    ]
    return HEAD + "".join(calculations) + "</modeling>"


STEPS = (
    [-3.0, -3.5, -3.5],
    [-3.0, -3.5, -3.2, -3.6],  # four steps, and the last one still changes the energy
    [-3.0, -3.5, -3.51, -3.5101],  # converged in the last step
)


def test_unconverged_steps_are_named_and_marked(tmp_path):
    path = tmp_path / "vasprun.xml"
    path.write_text(vasprun(*STEPS))
    with pytest.warns(DataQualityWarning, match=r"electrons of 1 of 3 frames .*\(frame 1 of"):
        structures, labels = read_frames(path)
    assert labels.info["electronic_converged"].tolist() == [True, False, True]
    # The cure that the warning names.
    rows = labels.info["electronic_converged"] != False  # noqa: E712
    assert labels[rows].energy.tolist() == [-3.5, -3.5101]
    assert len(structures[rows]) == 2


def test_converged_steps_are_read_in_silence(tmp_path):
    path = tmp_path / "vasprun.xml"
    path.write_text(vasprun(STEPS[0], STEPS[2]))
    _, labels = read_frames(path)
    assert labels.info["electronic_converged"].tolist() == [True, True]
    # It describes the calculation, and is no property of the crystal.
    _, y = read_structures(path)
    assert "electronic_converged" not in y


def test_outcar(tmp_path):
    path = tmp_path / "OUTCAR"
    lines = ["   NELM   =      3;   NELMIN=  2; NELMDL= -5", "   EDIFF  = 0.1E-03   stopping"]
    for ionic, changes in enumerate(
        (["0.27E+02", "-0.1E-04"], ["0.1", "-0.1", "-0.02"], ["0.1", "0.1", "********"])
    ):
        for number, change in enumerate(changes, start=1):
            lines.append(f"------ Iteration    {ionic + 1:3d}({number:4d})  -------")
            lines.append(f"  total energy-change (2. order) :{change}  (-0.1166E+04)")
    path.write_text("\n".join(lines))
    assert electronic_convergence(path, "vasp-out") == [True, False, False]


def test_a_file_without_nelm_says_nothing(tmp_path):
    path = tmp_path / "vasprun.xml"
    path.write_text(vasprun(*STEPS).replace("NELM", "other"))
    assert electronic_convergence(path, "vasp-xml") == []

"""Which classes a saved model may name."""

import pytest

from gnnpre import Denoising, Pretrainer, PropertyRegressor, StructureToGraph, _registry
from gnnpre._registry import registered_classes
from gnnpre.backbones import CGCNN, Backbone
from gnnpre.datasets import make_emt_property
from gnnpre.training import from_spec, to_spec


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    copy = {name: dict(homonyms) for name, homonyms in _registry._CLASSES.items()}
    monkeypatch.setattr(_registry, "_CLASSES", copy)


def define(name="Narrow", module="one", base=CGCNN):
    """Define a class as a module of the user's would."""
    return type(name, (base,), {"__module__": module, "__qualname__": name})


@pytest.mark.parametrize("load", [Pretrainer.load, PropertyRegressor])
def test_a_backbone_of_ones_own_loads_by_path_once_it_is_defined(tmp_path, load):
    structures, y = make_emt_property(6, random_state=0)
    graphs = StructureToGraph(cutoff=4.0).fit_transform(structures)
    path, settings = tmp_path / "m.gnnpre", {"max_epochs": 1, "random_state": 0}
    Pretrainer(define()(8, 1), Denoising(), **settings).fit(graphs).save(path)
    if load is PropertyRegressor:
        model = PropertyRegressor(pretrained=path, **settings).fit(graphs, y)
    else:
        model = load(path)
    assert type(model.spec_.backbone).__name__ == "Narrow"
    _registry._CLASSES.pop("Narrow")  # as in a process that has not imported it
    message = r"'Narrow', which is not defined here. Import the module"
    with pytest.raises(ValueError, match=message) as caught:
        Pretrainer.load(path)
    assert "save it again" not in str(caught.value)


def test_configs_of_gnnpre_are_registered_and_abstract_bases_are_not():
    names = {"CGCNN", "TorchMDNet", "ForceField", "Mixture", "EAD", "GMP", "CosineSchedule"}
    assert names <= set(registered_classes())
    assert not {"Backbone", "Objective", "Fingerprint"} & set(registered_classes())


def test_the_name_of_a_class_of_gnnpre_stays_its_own():
    impostor = define("CGCNN", base=CGCNN)
    assert registered_classes()["CGCNN"] is CGCNN
    with pytest.raises(ValueError, match=r"of the class one\.CGCNN, which has the name"):
        to_spec(impostor())


def test_two_classes_of_one_name_are_told_apart_by_the_user():
    first, second = define(module="one"), define(module="two")
    assert "Narrow" not in registered_classes()
    with pytest.raises(ValueError, match=r"classes=\[Narrow\] to load, as you have to if several"):
        from_spec(to_spec(first()), registered_classes())
    assert type(from_spec(to_spec(second()), {"Narrow": second})) is second


def test_a_class_that_is_defined_again_replaces_itself():
    define()
    again = define()
    assert registered_classes()["Narrow"] is again


def test_a_name_alone_imports_nothing():
    spec = {"class": "os.system", "params": {}}
    with pytest.raises(ValueError, match=r"'os\.system', which is not defined here"):
        from_spec(spec, registered_classes())
    assert issubclass(registered_classes()["CGCNN"], Backbone)

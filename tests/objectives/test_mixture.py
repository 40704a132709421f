"""Mixture: parts by name, one pass through the backbone, labels that some parts lack."""

import copy
import pickle
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold, ParameterGrid

from cases import BACKBONES
from gnnpre import (
    CGCNN,
    Denoising,
    ForceField,
    FrameLabels,
    Mixture,
    Pretrainer,
    PropertyRegressor,
    PropertyTargets,
)
from gnnpre.objectives._mixture_model import SharedBackbone
from gnnpre.training import from_spec, to_spec
from objectives.mixture_cases import (
    CGCNN_SMALL,
    FIT,
    Coordination,
    built,
    make_graphs,
    make_labels,
    mixture,
    step,
)

CLASSES = {c.__name__: c for c in (Mixture, ForceField, Denoising, PropertyTargets)}


@pytest.fixture(scope="module")
def graphs():
    return make_graphs()


@pytest.fixture(scope="module")
def labels(graphs) -> FrameLabels:
    return make_labels(graphs)


def count_passes(model, run) -> int:
    passes = []
    handle = model.backbone.register_forward_hook(lambda *_: passes.append(1))
    run()
    handle.remove()
    return len(passes)


class TestParameters:
    def test_get(self):
        params = mixture(forces=1.0, noise=0.1).get_params()
        assert params["forces__forces"] == 2.0
        assert params["noise__noise"] == 0.1
        assert params["forces_weight"] == 1.0
        assert isinstance(params["noise"], Denoising)
        assert set(mixture(forces=1.0).get_params(deep=False)) == {"parts"}

    def test_set(self):
        options = [("forces", ForceField(), 1.0), ("noise", Denoising(), 0.1)]
        one = Mixture(options)
        assert one.set_params(noise_weight=0.5, forces__stress=20.0) is one
        assert one.parts[0][1].stress == 20.0
        assert one.parts[1][2] == 0.5
        assert options[1][2] == 0.1  # the list that came is left alone
        one.set_params(noise=Denoising(0.05), noise__through="head")
        assert one.parts[1][1].get_params()["noise"] == 0.05
        assert one.parts[1][1].through == "head"
        assert one.parts[1][0::2] == ("noise", 0.5)
        one.set_params(parts=[("count", Coordination(), 1.0)], count_weight=3.0, count__weight=2.0)
        assert one.get_params()["count_weight"] == 3.0
        assert one.get_params()["count__weight"] == 2.0
        for unknown in ("gap", "gap_weight", "gap__loss", "forces__stress"):
            with pytest.raises(ValueError, match="Invalid parameter"):
                one.set_params(**{unknown: 1.0})

    def test_clone_and_pickle(self):
        one = mixture(forces=1.0, noise=0.1)
        for two in (clone(one), pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
            assert repr(two) == repr(one)
            assert two.parts[0][1] is not one.parts[0][1]
            two.set_params(forces__stress=7.0)
        assert one.parts[0][1].stress == 1.0

    def test_specs(self):
        one = mixture(forces=1.0, gap=2, noise=0.1)
        again = from_spec(to_spec(one), CLASSES)
        assert repr(again) == repr(one)
        assert type(again.parts[0]) is tuple

    def test_in_a_search(self, graphs, labels):
        search = GridSearchCV(
            Pretrainer(CGCNN(4, 1), mixture(forces=1.0, noise=0.1), **FIT),
            {"objective__forces__stress": [1.0, 5.0], "objective__noise_weight": [0.1, 1.0]},
            cv=KFold(2, shuffle=True, random_state=0),
            error_score="raise",
            refit=False,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # few crystals
            search.fit(graphs, labels)
        assert search.cv_results_["params"] == list(ParameterGrid(search.param_grid))
        assert len(set(search.cv_results_["mean_test_score"])) == 4

    def test_labels_are_needed_if_a_part_needs_them(self):
        assert mixture(forces=1.0, noise=0.1).needs_labels
        assert not mixture(count=1.0, noise=0.1).needs_labels
        for objective in (mixture(forces=1.0), mixture(noise=1.0), Mixture([]), Mixture(3)):
            tags = Pretrainer(objective=objective).__sklearn_tags__()
            assert tags.target_tags.required == objective.needs_labels


class TestOnePass:
    @pytest.mark.parametrize("backbone", ["cgcnn", "cgcnn_papers", "torchmdnet"])
    def test_equals_separate_models(self, graphs, labels, backbone):
        weights = {"forces": 1.5, "gap": 0.3, "count": 0.7}
        both, targets = built(mixture(**weights), graphs, labels, BACKBONES[backbone])
        terms, gradients = step(both, graphs, targets)
        summed = {name: torch.zeros_like(p) for name, p in both.backbone.named_parameters()}
        y = {"forces": labels, "gap": labels.info["gap"], "count": None}
        for name, piece, weight in mixture(**weights).parts:
            alone, of_its_own = built(piece, graphs, y[name], BACKBONES[backbone])
            alone.backbone.load_state_dict(both.backbone.state_dict())
            heads = both.parts[name].state_dict()
            alone.load_state_dict(
                {k: heads.get(k, v) for k, v in alone.state_dict().items()}, strict=True
            )
            own_terms, own_gradients = step(alone, graphs, of_its_own)
            for key, term in own_terms.items():
                result = terms.pop(f"{name}.{key}")
                assert float(result.mean) == pytest.approx(float(term.mean), rel=1e-12)
                assert result.weight == weight * term.weight
            for key, gradient in own_gradients.items():
                if key.startswith("backbone."):
                    summed[key.removeprefix("backbone.")] += weight * gradient
                else:
                    result = gradients.pop(f"parts.{name}.{key}")
                    assert_close(result, weight * gradient)
        assert not terms
        for name, gradient in summed.items():
            assert_close(gradients.pop(f"backbone.{name}", torch.zeros(())), gradient)
        assert not gradients

    @pytest.mark.parametrize(
        ("parts", "passes"),
        [
            ({"forces": 1.0}, 1),
            ({"forces": 1.0, "gap": 1.0, "count": 1.0}, 1),
            ({"gap": 1.0, "count": 1.0, "forces": 1.0}, 1),
            ({"forces": 1.0, "noise": 1.0}, 2),
            ({"gap": 1.0, "noise": 1.0, "count": 1.0}, 2),
        ],
    )
    @pytest.mark.parametrize("training", [True, False])
    def test_number_of_passes(self, graphs, labels, parts, passes, training):
        model, targets = built(mixture(**parts), graphs, labels)
        model.train(training)
        with torch.set_grad_enabled(training):
            assert count_passes(model, lambda: step(model, graphs, targets)) == passes
        # For predictions nothing is perturbed.
        batch = graphs.batch(dtype=torch.float64)
        assert count_passes(model, lambda: model.predict(batch)) == 1

    def test_two_derivatives_of_one_pass(self, graphs, labels):
        """Without a graph to train on, the first derivative must leave the second its own."""
        objective = Mixture([("one", ForceField(), 1.0), ("two", Denoising(), 1.0)])
        model, _ = built(objective, graphs, labels)
        batch = graphs.batch(dtype=torch.float64)
        together = model.eval().predict(batch)
        assert not any(value.requires_grad for value in together.values())
        for name in ("one", "two"):
            for key, value in model.parts[name].predict(batch).items():
                torch.testing.assert_close(together[f"{name}.{key}"], value, equal_nan=True)

    def test_the_same_perturbation_shares_a_pass(self, graphs):
        parts = [
            ("derivative", Denoising(0.1), 1.0),
            ("head", Denoising(0.1, "head", target="noise"), 1.0),
            ("count", Coordination(), 1.0),
            ("finer", Denoising(0.02), 1.0),
        ]
        model, targets = built(Mixture(parts), graphs, None)
        assert count_passes(model, lambda: step(model, graphs, targets)) == 3
        batch = graphs.batch(dtype=torch.float64)
        seen, _ = model.perturb(batch, {}, torch.Generator().manual_seed(0))
        assert seen.perturbed["derivative"] is seen.perturbed["head"]
        moved = {name: b.positions - batch.positions for name, b in seen.perturbed.items()}
        torch.testing.assert_close(moved["derivative"], 5 * moved["finer"])
        assert torch.equal(seen.positions, batch.positions)

    def test_nothing_stays_behind(self, graphs, labels):
        """Features that were kept would be stale after a step, and could not be pickled."""
        model, targets = built(mixture(forces=1.0, count=1.0, noise=1.0), graphs, labels)
        step(model, graphs, targets)
        copied = copy.deepcopy(model)
        again = pickle.loads(pickle.dumps(model))
        batch = graphs.batch(dtype=torch.float64)
        expected = model.predict(batch)
        with torch.no_grad():
            for parameter in model.backbone.parameters():
                parameter.mul_(1.5)
        for alternative in (copied, again):
            for name, value in alternative.predict(batch).items():
                torch.testing.assert_close(value, expected[name], equal_nan=True)
        changed = model.predict(batch)
        assert not torch.equal(changed["count.count"], expected["count.count"])

    def test_an_error_in_a_part_leaves_nothing_behind(self, graphs, labels):
        model, _ = built(mixture(forces=1.0, count=1.0), graphs, labels)
        batch = graphs.batch(dtype=torch.float64)
        model.parts["count"].outputs = None
        with pytest.raises(TypeError):
            model(batch)
        assert model.shared._held is None


def assert_close(one, two):
    np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-12 * float(two.abs().max()))


class TestWeightsByName:
    def test_names(self, graphs, labels):
        model, _ = built(mixture(forces=1.0, gap=1.0, count=1.0), graphs, labels)
        starts = Counter(".".join(name.split(".")[:3]) for name in model.state_dict())
        assert not any("backbone" in name for name in starts if name.startswith("parts."))
        assert {"parts.forces.head", "parts.gap.head", "parts.count.outputs"} <= set(starts)
        assert len(list(model.backbone.parameters())) + len(list(model.parts.parameters())) == len(
            list(model.parameters())
        )

    @pytest.mark.parametrize(("transfer", "names"), [("backbone", 0), ("matching", 4)])
    def test_transfer_of_the_first_readout(self, graphs, labels, transfer, names):
        objective = mixture(count=1.0, forces=1.0, gap=1.0)
        source = Pretrainer(CGCNN_SMALL, objective, **FIT).fit(graphs, labels)
        model = PropertyRegressor(
            pretrained=FrozenEstimator(source), transfer=transfer, strategy="head", **FIT
        )
        model.set_params(max_epochs=1, learning_rate=1e-30, weight_decay=0)
        model.fit(graphs, labels.info["gap"])
        assert sum(name.startswith("head.") for name in model.transferred_) == names
        options, taken = source.net_.module_.state_dict(), model.net_.module_.state_dict()
        for name in model.transferred_:
            origin = name if name.startswith("backbone.") else f"parts.forces.{name}"
            torch.testing.assert_close(taken[name], options[origin])


class FartherDenoising(Denoising):
    """Moves atoms by the noise of its base class, twice."""

    def build(self, backbone, layout):
        model = super().build(backbone, layout)
        base = type(model)

        class Farther(base):
            def perturb(self, batch, targets, generator):
                moved, targets = base.perturb(self, batch, targets, generator)
                return base.perturb(self, moved, targets, generator)

        model.__class__ = Farther
        return model


def test_another_perturbation_is_not_shared(graphs):
    """A subclass inherits the numbers of its base, but not how it changes the crystals."""
    objective = Mixture([("near", Denoising(), 1.0), ("far", FartherDenoising(), 1.0)])
    model, targets = built(objective, graphs, None)
    batch = graphs.batch(np.arange(4), torch.float32)
    generator = torch.Generator().manual_seed(0)
    seen, _ = model.perturb(batch, targets.batch(np.arange(4), torch.float32), generator)
    assert not torch.equal(seen.perturbed["near"].positions, seen.perturbed["far"].positions)


@pytest.mark.parametrize("n_reads", [1, 2, 3])
def test_threads_never_get_the_features_of_another_batch(n_reads):
    class Interrupted(SharedBackbone):
        """After some reads of its state, another thread holds its batch."""

        reads = 0

        def __getattribute__(self, name):
            value = super().__getattribute__(name)
            if name == "_held":
                Interrupted.reads += 1
                if Interrupted.reads == n_reads:
                    vars(self)["_held"] = ("second", "features of second")
            return value

    def module(batch):
        return f"features of {batch}"

    module.out_channels = module.n_elements = 1
    shared = Interrupted(module)
    with shared.holding("first"):
        assert shared("first") == "features of first"
        assert shared("first") == "features of first"
    assert shared("third") == "features of third"

"""The papers' protocols: their networks, their settings, and that they run."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from gnnpre import (
    CGCNN,
    EAD,
    Denoising,
    FingerprintTargets,
    ForceField,
    Mixture,
    Pretrainer,
    PropertyRegressor,
    PropertyTargets,
    StructureToGraph,
    TorchMDNet,
    jia2024_cgcnn,
    jia2024_torchmdnet,
    jia2025_torchmdnet,
)
from gnnpre.training import PlateauSchedule

STRATEGIES = ("forces", "denoising", "denoising_head")
ALL = [
    *((jia2024_cgcnn, name) for name in STRATEGIES),
    *((jia2024_torchmdnet, name) for name in STRATEGIES),
    *((jia2025_torchmdnet, name) for name in ("ead", "wacsf", "gmp")),
]
IDS = [f"{function.__name__}-{name}" for function, name in ALL]


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def scratch_model(protocol):
    """Return the network of the baseline, which fine-tuning has too."""
    regressor = protocol.scratch
    objective = PropertyTargets(
        **{name: getattr(regressor, name) for name in PropertyTargets().get_params()}
    )
    return objective.build(regressor.backbone.build(8.0), {"n_outputs": 1})


def pretraining_model(protocol):
    pretraining = protocol.pretraining
    return pretraining.objective.build(pretraining.backbone.build(8.0), {})


class TestNetworks:
    def test_cgcnn_has_the_published_number_of_parameters(self):
        protocol = jia2024_cgcnn()
        assert count(pretraining_model(protocol)) == 271_501
        assert count(scratch_model(protocol)) == 271_501

    @pytest.mark.parametrize("function", [jia2024_torchmdnet, jia2025_torchmdnet])
    def test_torchmdnet_has_it_but_for_what_its_docstring_says(self, function):
        # Less what acts on the vectors of the first layer, which are zero; more two biases.
        assert count(scratch_model(function())) == 1_759_461 - 105_216 + 2 * 128 == 1_654_501

    @pytest.mark.parametrize("function", [jia2024_cgcnn, jia2024_torchmdnet])
    @pytest.mark.parametrize("objective", ["forces", "denoising"])
    def test_pretraining_and_property_have_the_same_weights(self, function, objective):
        protocol = function(objective)
        one, two = pretraining_model(protocol), scratch_model(protocol)
        shapes = [{n: p.shape for n, p in model.named_parameters()} for model in (one, two)]
        assert shapes[0] == shapes[1]

    def test_fingerprints_leave_only_the_last_layer_behind(self):
        protocol = jia2025_torchmdnet()
        one, two = (
            dict(make(protocol).named_parameters()) for make in (pretraining_model, scratch_model)
        )
        assert one.keys() == two.keys()
        different = {name for name in one if one[name].shape != two[name].shape}
        assert different == {"head.mlp.4.weight", "head.mlp.4.bias"}
        assert one["head.mlp.4.weight"].shape == (24, 128)

    def test_cgcnn_is_the_published_form(self):
        backbone = jia2024_cgcnn(smearing_width=0.05).scratch.backbone
        assert backbone.smearing_width == 0.05
        assert jia2024_cgcnn().pretraining.backbone.smearing_width == 0.2
        published = (backbone.envelope, backbone.aggregation, backbone.activation)
        assert published == (None, "mean", "softplus")
        assert not backbone.batch_norm
        # In Å, of 8: 0.4 and 1.6.
        width = {
            w: jia2024_cgcnn(smearing_width=w).scratch.backbone.build(8.0) for w in (0.05, 0.2)
        }
        for part, module in width.items():
            centre = module.radial(torch.tensor([part * 8.0]))[0, 0]
            assert float(centre) == pytest.approx(np.exp(-0.5), rel=1e-5)

    def test_torchmdnet_is_the_published_form(self):
        backbone = jia2024_torchmdnet().scratch.backbone
        assert (backbone.n_layers, backbone.n_heads, backbone.n_radial) == (8, 8, 50)
        assert (backbone.vector_cutoff, backbone.aggregation) == (False, "sum")


class TestSettings:
    @pytest.mark.parametrize(("function", "objective"), ALL, ids=IDS)
    def test_what_all_have(self, function, objective):
        protocol = function(objective, random_state=5)
        assert (
            protocol.graphs.get_params()
            == StructureToGraph(8.0, max_neighbors=250, neighbor_cut="exact").get_params()
        )
        tuned = protocol.finetune("model.gnnpre")
        for model in (protocol.pretraining, protocol.scratch, tuned):
            assert model.random_state == 5
            assert (model.weight_decay, model.gradient_clip) == (0.01, 10.0)
            assert (model.ema_decay, model.patience, model.restore_best) == (None, None, True)
            schedule = model.schedule
            assert isinstance(schedule, PlateauSchedule)
            assert (schedule.factor, schedule.patience, schedule.threshold) == (0.8, 10, 2e-4)
            assert schedule.monitor == "train_loss"
        for model in (protocol.scratch, tuned):
            assert (model.loss, model.standardize, model.readout) == ("l1", False, "early")
            assert (model.pooling, model.max_epochs, model.batch_size) == ("sum", 200, 32)
        assert (tuned.backbone, tuned.pretrained) == (None, "model.gnnpre")
        assert protocol.scratch.pretrained is None

    @pytest.mark.parametrize(
        ("function", "epochs", "batch", "rate", "lowest", "scratch_rate", "scratch_lowest"),
        [
            (jia2024_cgcnn, 100, 50, 2e-3, 1e-5, 2e-3, 1e-5),
            (jia2024_torchmdnet, 100, 32, 2e-4, 1e-6, 2e-4, 1e-6),
            (jia2025_torchmdnet, 200, 8, 1e-4, 1e-5, 2e-4, 1e-6),
        ],
    )
    def test_what_is_their_own(
        self, function, epochs, batch, rate, lowest, scratch_rate, scratch_lowest
    ):
        protocol = function()
        pretraining, scratch = protocol.pretraining, protocol.scratch
        assert (pretraining.max_epochs, pretraining.batch_size) == (epochs, batch)
        assert (pretraining.learning_rate, pretraining.schedule.min_learning_rate) == (rate, lowest)
        assert (scratch.learning_rate, scratch.schedule.min_learning_rate) == (
            scratch_rate,
            scratch_lowest,
        )

    def test_validation_parts_are_the_published_ones_of_all_data(self):
        protocol = jia2024_cgcnn()
        assert 0.85 * protocol.pretraining.validation_fraction == pytest.approx(0.05)
        assert 0.8 * protocol.scratch.validation_fraction == pytest.approx(0.2)

    @pytest.mark.parametrize(
        ("objective", "changes", "rate"),
        [
            ("ead", {}, 1e-4),
            ("gmp", {}, 1e-4),
            ("wacsf", {}, 2e-4),
            ("wacsf", {"finetuning_learning_rate": 3e-4}, 3e-4),
            (FingerprintTargets(EAD(6.0)), {}, 1e-4),
        ],
    )
    def test_rate_of_fine_tuning_on_fingerprints(self, objective, changes, rate):
        protocol = jia2025_torchmdnet(objective, **changes)
        assert protocol.finetune("model.gnnpre").learning_rate == rate
        assert protocol.scratch.learning_rate == 2e-4

    @pytest.mark.parametrize("function", [jia2024_cgcnn, jia2024_torchmdnet])
    def test_what_differs_between_versions_is_a_parameter(self, function):
        protocol = function(
            pooling="mean",
            pretraining_epochs=12,
            pretraining_batch_size=30,
            finetuning_epochs=7,
            finetuning_batch_size=128,
        )
        tuned = protocol.finetune("model.gnnpre")
        assert (protocol.pretraining.max_epochs, protocol.pretraining.batch_size) == (12, 30)
        assert protocol.pretraining.objective.pooling == "sum"
        for model in (protocol.scratch, tuned):
            assert (model.pooling, model.max_epochs, model.batch_size) == ("mean", 7, 128)

    def test_transfer(self):
        assert jia2024_cgcnn().finetune("m").transfer == "matching"
        assert jia2025_torchmdnet().finetune("m").transfer == "matching"
        assert jia2024_cgcnn("denoising_head").finetune("m").transfer == "backbone"


class TestObjectives:
    @pytest.mark.parametrize(
        "ratio", [(1, 0, 0), (0, 1, 0), [0, 1, 1], (1, 1, 1), (1, 500, 500)], ids=str
    )
    def test_forces(self, ratio):
        objective = jia2024_cgcnn("forces", ratio=ratio).pretraining.objective
        assert isinstance(objective, ForceField)
        assert [objective.energy, objective.forces, objective.stress] == list(ratio)
        assert (objective.energy_per, objective.loss) == ("cell", "l1")
        assert (objective.reference_energies, objective.scale) == (None, False)

    def test_the_loss_of_forces_is_the_published_sum(self, data):
        # On raw totals: w_e |E| + w_f |F| + w_s |S|, means over all entries, against NumPy.
        protocol = jia2024_cgcnn(ratio=(1, 500, 500))
        targets = protocol.pretraining.objective.make_targets(data.graphs, data.labels)
        torch.manual_seed(0)
        model = pretraining_model(protocol).double().eval()
        model.set_statistics(data.graphs, targets, np.arange(20))
        indices = np.arange(20)
        batch = data.graphs.batch(indices, torch.float64)
        predicted = model.predict(batch)
        terms = model.losses(predicted, targets.batch(indices, torch.float64), batch)
        loss = sum(float(term.weight * term.mean) for term in terms.values())
        labels = {"energy": data.labels.energy, "forces": data.labels.forces}
        labels["stress"] = data.labels.stress
        error = {n: np.abs(predicted[n].detach().numpy() - labels[n]).mean() for n in labels}
        expected = error["energy"] + 500 * error["forces"] + 500 * error["stress"]
        assert loss == pytest.approx(expected, rel=1e-10)

    @pytest.mark.parametrize("function", [jia2024_cgcnn, jia2024_torchmdnet])
    @pytest.mark.parametrize(
        ("name", "through"), [("denoising", "derivative"), ("denoising_head", "head")]
    )
    def test_denoising(self, function, name, through):
        objective = function(name).pretraining.objective
        assert isinstance(objective, Denoising)
        assert (objective.through, objective.noise, objective.target) == (through, 0.1, "noise")
        assert (objective.remove_translation, objective.scale) == (False, None)

    def test_fingerprints(self):
        gmp = jia2025_torchmdnet("gmp").pretraining.objective
        assert isinstance(gmp, FingerprintTargets)
        # 1 + (orders 0 to 2) x (four sigmas).
        assert len(gmp.fingerprint.atom_feature_names()) == 13
        assert (gmp.loss, gmp.standardize) == ("l1", False)
        assert jia2025_torchmdnet("ead", standardize=True).pretraining.objective.standardize
        fingerprint = jia2025_torchmdnet("wacsf").pretraining.objective.fingerprint
        assert type(fingerprint).__name__ == "WACSF"

    def test_one_of_your_own_is_copied(self):
        own = Mixture([("forces", ForceField(), 1.0), ("ead", FingerprintTargets(), 0.1)])
        objective = jia2024_cgcnn(own).pretraining.objective
        assert repr(objective) == repr(own)
        assert objective is not own

    @pytest.mark.parametrize("objective", ["ead", "force", None, ForceField, 3])
    def test_others_are_refused(self, objective):
        message = r"objective=.*expected one of \['forces', 'denoising', 'denoising_head'\]"
        with pytest.raises(ValueError, match=message):
            jia2024_cgcnn(objective)

    @pytest.mark.parametrize("objective", ["forces", None, np.array(["ead", "wacsf"])])
    def test_others_are_refused_for_fingerprints(self, objective):
        with pytest.raises(ValueError, match=r"expected one of \['ead', 'wacsf', 'gmp'\]"):
            jia2025_torchmdnet(objective)

    @pytest.mark.parametrize("ratio", [(1, 500), "1:500:500", 500, None, (1, 2, 3, 4)])
    def test_ratios_have_three_weights(self, ratio):
        with pytest.raises(ValueError, match=r"ratio=.*expected three weights"):
            jia2024_torchmdnet(ratio=ratio)


class TestProtocol:
    @pytest.mark.parametrize(("function", "objective"), ALL, ids=IDS)
    def test_estimators_are_ordinary(self, function, objective):
        protocol = function(objective)
        parts = (protocol.graphs, protocol.pretraining, protocol.scratch, protocol.finetune("m"))
        for estimator in parts:
            assert repr(clone(estimator)) == repr(estimator)
        assert "backbone__hidden_channels" in protocol.pretraining.get_params()
        assert "backbone__hidden_channels" in protocol.scratch.get_params()

    def test_nothing_is_shared(self):
        one, two = jia2024_cgcnn(), jia2024_cgcnn()
        one.pretraining.set_params(backbone__n_layers=1)
        assert one.scratch.backbone.n_layers == 4
        assert two.pretraining.backbone.n_layers == 4
        tuned = one.finetune("m").set_params(schedule__patience=1)
        assert one.scratch.schedule.patience == 10
        assert tuned.schedule.patience == 1

    def test_changes_of_the_baseline_reach_fine_tuning(self):
        protocol = jia2024_cgcnn()
        protocol.scratch.set_params(device="cpu", batch_size=128)
        tuned = protocol.finetune("m")
        assert (tuned.device, tuned.batch_size) == ("cpu", 128)

    def test_a_protocol_cannot_be_changed_by_mistake(self):
        with pytest.raises(AttributeError):
            jia2024_cgcnn().pretraining = Pretrainer()

    def test_what_fine_tuning_starts_from(self, pretrained, data, tmp_path):
        protocol = jia2024_cgcnn()
        frozen = protocol.finetune(pretrained).pretrained
        assert isinstance(frozen, FrozenEstimator)
        assert frozen.estimator is pretrained
        assert protocol.finetune(frozen).pretrained is frozen
        assert protocol.finetune(tmp_path).pretrained == tmp_path
        with pytest.raises(TypeError, match=r"expected a name of .* the path of a saved estimator"):
            protocol.finetune(3).fit(data.graphs, data.y)


SMALL = {
    CGCNN: {"backbone__hidden_channels": 8, "backbone__n_layers": 1, "backbone__n_radial": 8},
    TorchMDNet: {
        "backbone__hidden_channels": 8,
        "backbone__n_layers": 2,
        "backbone__n_heads": 2,
        "backbone__n_radial": 8,
    },
}


@pytest.mark.parametrize(("function", "objective"), ALL, ids=IDS)
def test_pretraining_fine_tuning_and_prediction(function, objective, data, tmp_path):
    structures, labels, y = data.structures[:8], data.labels[:8], data.y[:8]
    protocol = function(objective, pretraining_epochs=1, finetuning_epochs=1, random_state=0)
    protocol.graphs.set_params(cutoff=4.0)
    kind = type(protocol.scratch.backbone)
    width = {"head_channels": 8}
    heads = {f"objective__{name}": value for name, value in width.items()}
    protocol.pretraining.set_params(**SMALL[kind], **heads, validation_fraction=0.2)
    protocol.scratch.set_params(**SMALL[kind], **width)
    with warnings.catch_warnings():
        # The papers keep the nearest 250 neighbours, of which objectives with derivatives warn.
        warnings.filterwarnings("ignore", "The graphs keep max_neighbors=250")
        warnings.filterwarnings("error", "transfer='matching'")
        pretraining = make_pipeline(protocol.graphs, protocol.pretraining).fit(structures, labels)
        path = tmp_path / "model.gnnpre"
        pretraining[-1].save(path)
        for source in (path, pretraining[-1]):
            model = make_pipeline(protocol.graphs, protocol.finetune(source)).fit(structures, y)
            assert isinstance(model[-1], PropertyRegressor)
            assert np.isfinite(model.predict(structures)).all()
            taken = set(model[-1].transferred_)
            learnt = {name for name, _ in model[-1].net_.module_.named_parameters()}
            last = {name for name in learnt if name.startswith(f"head.mlp.{last_layer(learnt)}.")}
            left = {"forces": set(), "denoising": set()}.get(objective, last)
            if objective == "denoising_head":
                left = {name for name in learnt if name.startswith("head.")}
            assert learnt - taken == left
        baseline = make_pipeline(protocol.graphs, protocol.scratch).fit(structures, y)
    assert baseline[-1].transferred_ == []
    assert np.isfinite(baseline.predict(structures)).all()


def last_layer(names):
    return max(int(name.split(".")[2]) for name in names if name.startswith("head."))

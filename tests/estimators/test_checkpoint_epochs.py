"""Models kept after chosen epochs: each is that of a training of so many epochs."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_validate
from skorch.callbacks import Callback

from gnnpre import CGCNN, Denoising, ForceField, Pretrainer, PropertyRegressor
from gnnpre.training import PlateauSchedule, load_checkpoint
from training.resuming import Crash

EPOCHS = (1, 3, 6)


@pytest.fixture
def pretrainer(tmp_path) -> Pretrainer:
    return Pretrainer(
        CGCNN(8, 1),
        ForceField(),
        max_epochs=6,
        batch_size=8,
        learning_rate=0.3,  # so large that the best epoch is not always the last
        schedule=None,
        validation_fraction=0.3,
        random_state=0,
        checkpoint_dir=str(tmp_path / "runs"),
        checkpoint_epochs=EPOCHS,
    )


def weights(model):
    return model.net_.module_.state_dict()


def assert_same_weights(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def losses(model):
    return [{key: row[key] for key in row if key != "dur"} for row in model.history_]


def in_peace(model, **changes):
    """Return the same without any file."""
    alone = clone(model).set_params(checkpoint_dir=None, checkpoint_epochs=None, resume=False)
    return alone.set_params(**changes)


def times(model):
    return {epoch: Path(path).stat().st_mtime_ns for epoch, path in model.checkpoints_.items()}


def crash(model, data, after):
    crashing = clone(model).set_params(callbacks=[Crash(after)])
    warned = pytest.warns(UserWarning, match="callbacks cannot be written")
    with warned, pytest.raises(RuntimeError, match="crash"):
        crashing.fit(data.graphs, data.labels)


class TestWhatIsKept:
    @pytest.mark.parametrize("ema_decay", [None, 0.8])
    @pytest.mark.parametrize("restore_best", [True, False])
    @pytest.mark.parametrize("validation_fraction", [0.3, 0])
    @pytest.mark.parametrize("schedule", [None, PlateauSchedule(patience=0, threshold=0.2)])
    def test_a_training_of_so_many_epochs_ends_the_same(
        self, pretrainer, data, ema_decay, restore_best, validation_fraction, schedule
    ):
        pretrainer.set_params(
            ema_decay=ema_decay,
            restore_best=restore_best,
            validation_fraction=validation_fraction,
            schedule=schedule,
            backbone__batch_norm=True,
        ).fit(data.graphs, data.labels)
        assert list(pretrainer.checkpoints_) == list(EPOCHS)
        for epoch, path in pretrainer.checkpoints_.items():
            short = in_peace(pretrainer, max_epochs=epoch).fit(data.graphs, data.labels)
            kept = Pretrainer.load(path)
            assert_same_weights(weights(kept), weights(short))
            assert losses(kept) == losses(short)
            assert kept.data_ == short.data_
            assert kept.elements_ == short.elements_
            assert kept.graph_settings_ == short.graph_settings_

    def test_the_best_so_far_is_kept_not_the_last(self, pretrainer, data):
        # Otherwise the test above could not tell the two apart.
        pretrainer.fit(data.graphs, data.labels)
        valid = [row["valid_loss"] for row in pretrainer.history_]
        assert any(np.argmin(valid[:epoch]) != epoch - 1 for epoch in EPOCHS)
        last = clone(pretrainer).set_params(restore_best=False).fit(data.graphs, data.labels)
        different = [
            epoch
            for epoch in EPOCHS
            if not torch.equal(
                *(
                    load_checkpoint(model.checkpoints_[epoch], "Pretrainer")[0]["head.mlp.0.weight"]
                    for model in (pretrainer, last)
                )
            )
        ]
        assert different == [e for e in EPOCHS if np.argmin(valid[:e]) != e - 1]

    def test_keeping_changes_nothing(self, pretrainer, data):
        pretrainer.set_params(schedule="cosine", ema_decay=0.9)
        alone = in_peace(pretrainer).fit(data.graphs, data.labels)
        assert_same_weights(weights(pretrainer.fit(data.graphs, data.labels)), weights(alone))
        assert alone.checkpoints_ == {}

    def test_the_last_epoch_is_the_model_itself(self, pretrainer, data):
        pretrainer.set_params(schedule="cosine").fit(data.graphs, data.labels)
        last = Pretrainer.load(pretrainer.checkpoints_[6])
        assert_same_weights(weights(last), weights(pretrainer))
        assert repr(last.get_params()) == repr(pretrainer.get_params())
        assert last.history_ == pretrainer.history_

    def test_a_regressor_starts_from_one(self, pretrainer, data):
        path = pretrainer.fit(data.graphs, data.labels).checkpoints_[3]
        model = PropertyRegressor(pretrained=path, max_epochs=1, random_state=0)
        model.fit(data.graphs, data.y)
        assert model.transferred_
        assert np.isfinite(model.predict(data.structures)).all()

    def test_files_are_named_by_epoch_and_lie_in_a_folder_of_the_run(self, pretrainer, data):
        pretrainer.set_params(checkpoint_epochs=[np.int64(3), 1]).fit(data.graphs, data.labels)
        (state,) = Path(pretrainer.checkpoint_dir).glob("*.safetensors")
        expected = [state.with_suffix("") / f"epoch_000{epoch}.gnnpre" for epoch in (1, 3)]
        assert list(pretrainer.checkpoints_.items()) == [
            (1, str(expected[0])),
            (3, str(expected[1])),
        ]
        assert sorted(state.with_suffix("").iterdir()) == expected

    def test_they_survive_pickle_save_and_load(self, pretrainer, data, tmp_path):
        pretrainer.fit(data.graphs, data.labels)
        assert pickle.loads(pickle.dumps(pretrainer)).checkpoints_ == pretrainer.checkpoints_
        pretrainer.save(tmp_path / "model.gnnpre")
        assert Pretrainer.load(tmp_path / "model.gnnpre").checkpoints_ == pretrainer.checkpoints_
        first = Pretrainer.load(pretrainer.checkpoints_[3]).checkpoints_
        assert first == {epoch: pretrainer.checkpoints_[epoch] for epoch in (1, 3)}

    def test_a_file_without_them_loads(self, pretrainer, data, tmp_path):
        in_peace(pretrainer).fit(data.graphs, data.labels).save(tmp_path / "model.gnnpre")
        assert Pretrainer.load(tmp_path / "model.gnnpre").checkpoints_ == {}

    def test_what_a_file_cannot_hold_is_said_once(self, pretrainer, data):
        pretrainer.set_params(callbacks=[Callback()])
        with pytest.warns(UserWarning, match="callbacks cannot be written") as caught:
            pretrainer.fit(data.graphs, data.labels)
        assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]

    def test_a_regressor_keeps_none(self):
        assert "checkpoint_epochs" not in PropertyRegressor().get_params()


class TestRunsInOneFolder:
    @pytest.mark.parametrize("change", [{"random_state": 1}, {"learning_rate": 0.1}, {"data": 1}])
    def test_other_runs_have_other_files(self, pretrainer, data, change):
        first = clone(pretrainer).fit(data.graphs, data.labels)
        before = times(first)
        part = slice(0, 20 - change.pop("data", 0))
        second = clone(pretrainer).set_params(**change).fit(data.graphs[part], data.labels[part])
        assert not set(first.checkpoints_.values()) & set(second.checkpoints_.values())
        assert times(first) == before
        alone = in_peace(second, max_epochs=3).fit(data.graphs[part], data.labels[part])
        assert_same_weights(weights(Pretrainer.load(second.checkpoints_[3])), weights(alone))

    def test_folds_have_their_own(self, pretrainer, data):
        folds = cross_validate(
            pretrainer, data.graphs, data.labels, cv=KFold(2), return_estimator=True
        )["estimator"]
        paths = [path for fold in folds for path in fold.checkpoints_.values()]
        assert len(set(paths)) == 2 * len(EPOCHS)
        assert all(Path(path).is_file() for path in paths)

    def test_pretraining_within_a_fit_keeps_its_own(self, pretrainer, data):
        pretrainer.set_params(objective=Denoising(0.05))
        PropertyRegressor(pretraining=pretrainer, max_epochs=1, random_state=0).fit(
            data.graphs, data.y
        )
        assert len(list(Path(pretrainer.checkpoint_dir).glob("*/epoch_*.gnnpre"))) == len(EPOCHS)


class TestResume:
    @pytest.mark.parametrize("after", [1, 2, 3, 5])
    @pytest.mark.parametrize("schedule", ["cosine", "plateau"])
    def test_a_crashed_training_leaves_the_same(self, pretrainer, data, tmp_path, after, schedule):
        pretrainer.set_params(schedule=schedule, ema_decay=0.9, resume=True)
        crash(pretrainer, data, after)
        whole = clone(pretrainer).set_params(checkpoint_dir=str(tmp_path / "whole"))
        whole.fit(data.graphs, data.labels)
        again = clone(pretrainer).fit(data.graphs, data.labels)
        assert list(again.checkpoints_) == list(EPOCHS)
        for epoch in EPOCHS:
            kept = [Pretrainer.load(model.checkpoints_[epoch]) for model in (again, whole)]
            assert_same_weights(*(weights(model) for model in kept))
            assert losses(kept[0]) == losses(kept[1])

    def test_files_of_epochs_that_are_over_stay_as_they_are(self, pretrainer, data):
        pretrainer.set_params(resume=True)
        crash(pretrainer, data, after=4)
        (folder,) = (path for path in Path(pretrainer.checkpoint_dir).iterdir() if path.is_dir())
        before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
        after = times(clone(pretrainer).fit(data.graphs, data.labels))
        assert before == {f"epoch_000{epoch}.gnnpre": after[epoch] for epoch in (1, 3)}

    def test_a_finished_training_gives_them_again(self, pretrainer, data):
        first = pretrainer.set_params(resume=True).fit(data.graphs, data.labels)
        before = times(first)
        second = clone(pretrainer).fit(data.graphs, data.labels)
        assert second.checkpoints_ == first.checkpoints_
        assert times(second) == before

    def test_more_epochs_go_on_with_them(self, pretrainer, data):
        pretrainer.set_params(resume=True).fit(data.graphs, data.labels)
        more = clone(pretrainer).set_params(max_epochs=8, checkpoint_epochs=(1, 6, 8))
        before = times(pretrainer)
        more.fit(data.graphs, data.labels)
        assert list(more.checkpoints_) == [1, 6, 8]
        assert times(pretrainer) == before
        assert_same_weights(weights(Pretrainer.load(more.checkpoints_[8])), weights(more))

    def test_an_epoch_that_is_over_and_was_not_kept_is_an_error(self, pretrainer, data):
        pretrainer.set_params(resume=True)
        crash(pretrainer, data, after=4)
        late = clone(pretrainer).set_params(checkpoint_epochs=(1, 2, 5))
        message = r"checkpoint_epochs=\(1, 2, 5\), but .* done 4 epochs.*epoch_0002.gnnpre"
        with pytest.raises(ValueError, match=message):
            late.fit(data.graphs, data.labels)
        late.set_params(checkpoint_epochs=(1, 5)).fit(data.graphs, data.labels)
        assert list(late.checkpoints_) == [1, 5]
        late.set_params(checkpoint_epochs=(1, 2, 5), resume=False).fit(data.graphs, data.labels)
        assert list(late.checkpoints_) == [1, 2, 5]

    def test_a_state_goes_on_where_none_are_kept_any_more(self, pretrainer, data):
        pretrainer.set_params(resume=True)
        crash(pretrainer, data, after=4)
        whole = in_peace(pretrainer).fit(data.graphs, data.labels)
        pretrainer.set_params(checkpoint_epochs=None).fit(data.graphs, data.labels)
        assert_same_weights(weights(pretrainer), weights(whole))
        assert pretrainer.checkpoints_ == {}


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """Folder with what trainings in peace and killed ones kept."""
    folder = tmp_path_factory.mktemp("killed")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = Path(__file__).with_name("killed_epochs.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


class TestKilled:
    def test_a_killed_training_leaves_the_same(self, killed):
        kept = [json.loads((killed / f"{how}.json").read_text()) for how in ("whole", "killed")]
        assert list(kept[0]) == list(kept[1]) == ["2", "3", "6"]
        for epoch in kept[0]:
            pair = [load_checkpoint(paths[epoch], "Pretrainer") for paths in kept]
            assert_same_weights(*(found for found, _ in pair))

    def test_it_died_while_and_after_writing(self, killed):
        log = json.loads((killed / "log.json").read_text())
        assert log[0][0].startswith(".epoch_0002.gnnpre.")  # half written, not in place
        assert log[1] == ["epoch_0002.gnnpre"]  # in place, but its epoch is not in the state
        assert log[2][0].startswith(".epoch_0003.gnnpre.")
        assert log[3] == ["epoch_0002.gnnpre", "epoch_0003.gnnpre"]
        assert log[4][0].startswith(".epoch_0006.gnnpre.")
        left = {path.name for path in killed.glob("killed/*/*")}
        assert left == {f"epoch_000{epoch}.gnnpre" for epoch in (2, 3, 6)}


class StopAfter(Callback):
    """Ends a training as skorch's own early stopping does."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 3:
            raise KeyboardInterrupt


class TestEarlyStop:
    def test_epochs_never_reached_have_no_file(self, pretrainer, data):
        pretrainer.set_params(learning_rate=1e-30, patience=2, resume=True)
        message = r"stopped after 3 epochs: there is no checkpoint of 6"
        with pytest.warns(UserWarning, match=message) as caught:
            pretrainer.fit(data.graphs, data.labels)
        assert Path(caught[0].filename).name == Path(__file__).name
        assert list(pretrainer.checkpoints_) == [1, 3]
        with pytest.warns(UserWarning, match=message):
            again = clone(pretrainer).fit(data.graphs, data.labels)
        assert again.checkpoints_ == pretrainer.checkpoints_

    def test_the_epoch_in_which_a_callback_stops_is_kept(self, pretrainer, data):
        pretrainer.set_params(callbacks=[StopAfter()])
        with pytest.warns(UserWarning, match="no checkpoint of 6"):
            pretrainer.fit(data.graphs, data.labels)
        assert list(pretrainer.checkpoints_) == [1, 3]
        assert_same_weights(
            weights(Pretrainer.load(pretrainer.checkpoints_[3])), weights(pretrainer)
        )


@pytest.mark.parametrize(
    ("epochs", "message"),
    [
        ((), r"checkpoint_epochs=\(\); expected a list or tuple of different ints from 1.*or None"),
        (3, r"checkpoint_epochs=3; expected a list or tuple of different ints"),
        ("12", r"checkpoint_epochs='12'; expected a list or tuple of different ints"),
        ({3}, r"checkpoint_epochs=\{3\}; expected a list or tuple of different ints"),
        ((0, 3), r"checkpoint_epochs=\(0, 3\) has 0; expected a list or tuple of different ints"),
        ((-1,), r"has -1; expected a list or tuple of different ints"),
        ((1.0,), r"has 1.0; expected a list or tuple of different ints"),
        ((True,), r"has True; expected a list or tuple of different ints"),
        (("1",), r"has '1'; expected a list or tuple of different ints"),
        ((None,), r"has None; expected a list or tuple of different ints"),
        ((1, float("nan")), r"has nan; expected a list or tuple of different ints"),
        (np.array([1, 2]), r"expected a list or tuple of different ints"),
        (range(1, 3), r"expected a list or tuple of different ints"),
        ((1, 3, 1), r"has 1 more than once"),
        ((3, 7), r"has 7, but max_epochs=6: leave that epoch out, or set max_epochs=7"),
    ],
)
def test_epochs_that_make_no_sense(pretrainer, data, epochs, message):
    with pytest.raises(ValueError, match=message):
        pretrainer.set_params(checkpoint_epochs=epochs).fit(data.graphs, data.labels)
    assert not Path(pretrainer.checkpoint_dir).exists()


def test_they_need_a_folder(pretrainer, data):
    with pytest.raises(ValueError, match=r"checkpoint_epochs=\(1, 3, 6\) needs checkpoint_dir"):
        pretrainer.set_params(checkpoint_dir=None).fit(data.graphs, data.labels)

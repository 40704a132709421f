"""A callback with which a pre-training starts from the backbone of another model."""

from pathlib import Path

from skorch.callbacks import Callback

from gnnpre import load_estimator

__all__ = ["StartFrom"]


class StartFrom(Callback):
    """Copy the backbone's weights of a saved model before the first epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        # A resumed training brings its own weights.
        if len(net.history) == 0:
            source = load_estimator(self.path).net_.module_.backbone
            net.module_.backbone.load_state_dict(source.state_dict())

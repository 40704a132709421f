"""Losses without a training loop."""

import torch

STILL = {"learning_rate": 1e-30, "schedule": None, "restore_best": False}  # weights stay


def assert_same_weights(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name

"""Sizes that the tests here share."""

#: Crystals.
N = 24
#: Settings of a training that takes a moment.
SMALL = {"max_epochs": 2, "batch_size": 8, "random_state": 0}

"""Trials of a search, as the tests look at them."""

STORAGES = ("sqlite", "journal")


def states(search):
    return [trial.state.name for trial in search.study_.trials]

"""``python -m gnnpre.cli``: the command ``gnnpre``, where it is not on the path."""

from ._main import run

if __name__ == "__main__":
    run()

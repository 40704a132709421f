"""Print the requirements of setup.cfg with each lower bound as the version to install."""

import configparser
import sys

EXTRAS = ("pytest", "pytest-xdist", "numpydoc", "matplotlib", "pandas>=2.2", "lmdb", "pyarrow")

settings = configparser.ConfigParser()
settings.read(sys.argv[1])
requirements = settings["options"]["install_requires"].split()
unbounded = [requirement for requirement in requirements if ">=" not in requirement]
if unbounded:
    names = ", ".join(unbounded)
    sys.exit(f"setup.cfg promises no lowest version of {names}: write name>=version.")
print("\n".join([*(requirement.replace(">=", "==") for requirement in requirements), *EXTRAS]))

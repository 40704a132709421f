# The part of scikit-learn that gnnpre subclasses: with it mypy knows which attributes a subclass
# has, and reports misspelt ones. All other modules and names are Any.
from typing import Any

def __getattr__(name: str) -> Any: ...

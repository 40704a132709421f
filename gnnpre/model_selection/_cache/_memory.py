"""A cache for pipelines that recognises structures by their content."""

import inspect
import json
import pickle
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
from sklearn.base import BaseEstimator

from gnnpre._atomic import replace_folder
from gnnpre._content_key import content_key
from gnnpre._version import __version__
from gnnpre._warnings import StorageWarning, warn_user

from ._cache_entry import ABOUT, RESULT, SUFFIX, CacheEntry, read_entry

__all__ = ["ContentMemory"]


class ContentMemory:
    """A cache on disk for ``Pipeline(memory=)`` that recognises structures by their content.

    ``Pipeline(memory="folder")`` asks joblib for a hash of the pickled X. A pymatgen structure
    caches results of its methods in itself, so that its pickle changes when it is used
    (``volume``, a neighbour search), and the same structures miss. Here keys depend on content:
    species, coordinates, cell, periodicity and the properties that a structure carries, of ASE's
    atoms also constraints and the calculator (stored results, or class and parameters); every
    parameter of the transformer; the name of its class, and the versions of gnnpre and of the
    package of the class (its source code, where the package has no version).

    Parameters
    ----------
    location : str or Path
        Folder of the cache, created if it does not exist. Other processes may use it too.
    mmap_mode : {"r", "c"}, optional
        Read arrays by memory mapping; into memory by default.

    See Also
    --------
    sklearn.pipeline.Pipeline : Its ``memory`` takes this, and caches all steps but the last.

    Notes
    -----
    Coordinates are compared as they are, not rounded: rounding would let two different structures
    share a result, and still part equal ones at an edge. Using a structure changes no coordinate.

    Two processes that miss the same key both compute it; each writes its result under a temporary
    name and renames it, so that no process reads half of one. If a result cannot be written (a
    full disk, a read-only folder), a warning says so and the result is returned all the same.
    Entries are pickled: use folders to which only people you trust can write.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from gnnpre import EAD
    >>> from gnnpre.datasets import make_emt_property
    >>> from gnnpre.model_selection import ContentMemory
    >>> structures, y = make_emt_property(4, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     memory = ContentMemory(folder)
    ...     model = make_pipeline(EAD(pooling="mean"), Ridge(), memory=memory)
    ...     _ = model.fit(structures, y)
    ...     volumes = [structure.volume for structure in structures]
    ...     _ = model.set_params(ridge__alpha=0.1).fit(structures, y)
    ...     [entry.label for entry in memory.entries()]
    ["EAD(pooling='mean') of list of 4"]
    """

    def __init__(self, location: str | Path, *, mmap_mode: str | None = None) -> None:
        if not isinstance(location, (str, Path)):
            raise TypeError(f"location={location!r}; expected a path: ContentMemory('cache').")
        if mmap_mode not in (None, "r", "c"):
            raise ValueError(f"mmap_mode={mmap_mode!r}; expected None, 'r' or 'c'.")
        self.location = str(location)
        self.mmap_mode = mmap_mode

    def __repr__(self) -> str:
        return f"ContentMemory({self.location!r})"

    def cache(
        self, func: Callable[..., Any] | None = None, ignore: Iterable[str] | None = None, **_: Any
    ) -> Any:
        """Wrap a function, as ``joblib.Memory.cache`` does.

        Parameters
        ----------
        func : callable, optional
            The function; without it a decorator is returned.
        ignore : list of str, optional
            Arguments that do not count.
        **_ : object
            Ignored: joblib's further options.

        Returns
        -------
        callable
            The function, which looks first whether it has been called with the same content.
        """
        if func is None:
            return lambda function: self.cache(function, ignore)
        return _CachedFunction(self, func, tuple(ignore or ()))

    def entries(self) -> list[CacheEntry]:
        """List the entries, the newest first.

        Returns
        -------
        list of CacheEntry
            Label, size in bytes and age of each result.
        """
        entries = [entry for folder in self._folders() if (entry := read_entry(folder))]
        return sorted(entries, key=lambda entry: entry.created, reverse=True)

    def clear(self, warn: bool = False) -> None:
        """Remove all entries, and nothing else that may be in the folder.

        Parameters
        ----------
        warn : bool
            Whether to warn with the name of the folder.
        """
        if warn:
            warn_user(f"Clearing the cache in {self.location!r}.", StorageWarning)
        for folder in self._folders():
            shutil.rmtree(folder, ignore_errors=True)

    def _folders(self) -> Iterator[Path]:
        return Path(self.location).glob(f"[!.]*{SUFFIX}*")

    def _folder(self, key: str) -> Path:
        return Path(self.location) / f"{key}{SUFFIX}"

    def _load(self, key: str) -> tuple[bool, Any]:
        """Return whether there is a result, and the result."""
        path = self._folder(key) / RESULT
        if not path.is_file():
            return False, None
        try:
            return True, joblib.load(path, mmap_mode=self.mmap_mode)
        except FileNotFoundError:
            return False, None  # another process has cleared the cache meanwhile
        except Exception as error:
            warn_user(
                f"{str(path)!r} cannot be read ({type(error).__name__}: {error}) and is computed "
                "anew.",
                StorageWarning,
            )
            shutil.rmtree(path.parent, ignore_errors=True)
            return False, None

    def _store(self, key: str, label: str, result: Any, seconds: float) -> None:
        folder = self._folder(key)
        if folder.is_dir():
            return  # another process was first, and its result is the same
        about = {"label": label, "seconds": seconds, "version": __version__}
        about["created"] = datetime.now(UTC).isoformat()
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with replace_folder(folder) as new:
                joblib.dump(result, new / RESULT)
                (new / ABOUT).write_text(json.dumps(about), encoding="utf-8")
        except (OSError, pickle.PicklingError, AttributeError, TypeError) as error:
            if not folder.is_dir():  # else another process was first
                is_full = isinstance(error, OSError)
                cure = (
                    "Free space, or choose another location"
                    if is_full
                    else "Only what pickle can write is cached: use functions with names"
                )
                warn_user(
                    f"The result of {label} cannot be written to the cache "
                    f"{self.location!r} ({error}): it will be computed again. {cure}.",
                    StorageWarning,
                )


class _CachedFunction:
    """A function whose results are cached."""

    def __init__(self, memory: ContentMemory, func: Callable[..., Any], ignore: tuple[str, ...]):
        self.memory, self.func, self.ignore = memory, func, ignore
        self.__wrapped__ = func

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        key, label = self._describe(args, kwargs)
        is_cached, result = self.memory._load(key)
        if is_cached:
            return result
        start = time.perf_counter()
        result = self.func(*args, **kwargs)
        self.memory._store(key, label, result, time.perf_counter() - start)
        return result

    def check_call_in_cache(self, *args: Any, **kwargs: Any) -> bool:
        """Return whether a call would find its result in the cache."""
        key, _ = self._describe(args, kwargs)
        return (self.memory._folder(key) / RESULT).is_file()

    def _describe(self, args: Any, kwargs: Any) -> tuple[str, str]:
        # Arguments by name, defaults included: f(1) and f(x=1) have one key.
        bound = inspect.signature(self.func).bind(*args, **kwargs)
        bound.apply_defaults()
        counted = {k: value for k, value in bound.arguments.items() if k not in self.ignore}
        return content_key(self.func, counted), _label(self.func, counted)


def _label(func: Callable[..., Any], arguments: dict[str, Any]) -> str:
    values = list(arguments.values())
    if len(values) > 1 and isinstance(values[0], BaseEstimator):
        return f"{' '.join(repr(values[0]).split())} of {_size(values[1])}"
    return f"{getattr(func, '__qualname__', repr(func))}({', '.join(map(_size, values))})"


def _size(value: Any) -> str:
    try:
        length = f" of {len(value)}"
    except TypeError:  # numbers, classes and arrays without dimensions
        length = ""
    return f"{type(value).__name__}{length}"

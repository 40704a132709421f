"""Open a store of crystals."""

import os

from gnnpre._validation import check_number

from .._extras import import_extra
from .._parameters import check_path
from ._crystal_store import CrystalStore
from ._manifest import MANIFEST, read_manifest
from ._reader import StoreReader, check_size

__all__ = ["open_crystals"]


def open_crystals(
    folder: str | os.PathLike[str], *, shuffle_rows: int = 8192, n_threads: int = 1
) -> CrystalStore:
    """Open a folder of crystals that :func:`write_crystals` wrote.

    Parameters
    ----------
    folder : str or path-like
        The folder.
    shuffle_rows : int
        Crystals that a training shuffles together. Blocks of 512 neighbouring crystals are drawn
        at random, and as many of them as make up this number are read and mixed. A store of
        fewer crystals is shuffled as a whole, exactly as crystals in memory are.
    n_threads : int
        Threads that read crystals and build graphs while a training step runs.

    Returns
    -------
    CrystalStore
        The crystals. Sizes of all files have been compared; a checksum is compared when a file is
        first read, and again if it has changed since.

    Raises
    ------
    ValueError
        If the store is incomplete, or a file is gone or altered; the message names it.
    FileNotFoundError
        If there is no store in the folder.
    ImportError
        If pyarrow, of the extra ``store``, is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from gnnpre.datasets import make_emt_property, open_crystals, write_crystals
    >>> from gnnpre.graphs import Crystals
    >>> structures, y = make_emt_property(3, random_state=0)
    >>> folder = tempfile.mkdtemp()
    >>> _ = write_crystals(folder, [(Crystals.from_structures(structures), {"modulus": y})])
    >>> store = open_crystals(folder)
    >>> store
    CrystalStore(n=3, shards=1, info=['modulus'])
    >>> bool((store.info["modulus"] == y).all())
    True
    """
    import_extra("pyarrow", "store", "open_crystals")
    path = check_path("folder", folder).absolute()
    check_number("shuffle_rows", shuffle_rows, integer=True)
    check_number("n_threads", n_threads, integer=True)
    manifest = read_manifest(path)
    if manifest is None:
        raise FileNotFoundError(
            f"There is no store in {path}: it has no {MANIFEST}. write_crystals makes one; Parquet "
            "files of another source are read by read_parquet."
        )
    if not manifest.complete:
        raise ValueError(
            f"The store in {path} is incomplete: {len(manifest.shards)} files are written, and "
            "more were to come. Call write_crystals again with the same batches, which goes on "
            "from there."
        )
    if not manifest.shards:
        raise ValueError(
            f"{path / MANIFEST} names no files: it was altered. Write the store again."
        )
    # Sizes are compared at once, checksums when a shard is first read.
    for shard in manifest.shards:
        check_size(path / shard.file, shard)
    return CrystalStore(StoreReader(path, manifest), None, int(shuffle_rows), int(n_threads))

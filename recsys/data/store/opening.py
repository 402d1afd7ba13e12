"""Open a store as a log."""

from __future__ import annotations

from pathlib import Path

from recsys.core.arguments import flag, place
from recsys.data.interactions import Interactions


def open_store(folder: str | Path, *, verify: bool = False) -> Interactions:
    """Open a store, which ``recsys import`` or :meth:`Interactions.save` wrote: in milliseconds, whatever its size.

    The arrays are read-only maps of the files: only what is looked at comes into memory, and processes share it. Ids are
    read when they are first needed; a few of them are found without. Whoever replaces the store later changes nothing
    of a log that is open.

    Parameters
    ----------
    folder : str or Path
    verify : bool
        Whether to read all files and compare their digests, which takes seconds for each gigabyte. Otherwise the manifest,
        which has a digest of its own, the size of each file and the header of each array are checked: a file that is cut,
        exchanged or missing is found, a bit that flipped on the disk is not. :meth:`Interactions.load` always verifies.

    Returns
    -------
    Interactions

    Raises
    ------
    DataError
        There is no store, one of a later version, or a damaged one; the message names the file.

    Examples
    --------
    >>> log = recsys.Interactions.from_frame(
    ...     pl.DataFrame({"user_id": ["ann", "bob", "ann"], "item_id": ["x", "x", "y"], "timestamp": [20, 10, 10]})
    ... )
    >>> log.save("store")
    >>> recsys.open_store("store")
    Interactions(3 by 2 users on 2 items)
    """
    return Interactions.load(place(folder, "folder"), verify=flag(verify, "verify"))

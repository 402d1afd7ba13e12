"""Folders whose files alone do not show which rows are valid: tables that keep several versions of them, and stores."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from recsys.data.store.manifest import is_store
from recsys.errors import DataError

_KINDS = (
    ("Delta", "_delta_log", r"\d{20}\.(json|checkpoint.*)", "deltalake.DeltaTable(folder).to_pyarrow_dataset()"),
    ("Iceberg", "metadata", r".*\.metadata\.json", "pyiceberg's table.scan().to_arrow_batch_reader()"),
    ("Hudi", ".hoodie", r"hoodie\.properties", "what its own reader gives as an Arrow table"),
    ("Lance", "_versions", r".*\.manifest", "lance.dataset(folder)"),
)
"""Kind, the folder within that holds its log, what the log's files are called, and what to pass in Python."""


def refuse_versioned(folders: Sequence[Path]) -> None:
    """Refuse folders that hold such a table, or are a store.

    Raises
    ------
    DataError
        One does; the message says how to read it.
    """
    for folder in folders:
        if is_store(folder):
            raise DataError(
                f"the folder {folder} is a store, not the files of a log: open it, recsys.open_store({str(folder)!r}), or "
                f"name it alone on the command line"
            )
        for kind, inner, name, instead in _KINDS:
            log = folder / inner
            if log.is_dir() and any(re.fullmatch(name, one.name) for one in log.iterdir()):
                raise DataError(
                    f"the folder {folder} is a {kind} table, whose files also hold rows that were removed or replaced; "
                    f"in Python, read {instead} in its place; for the command line, write the table as Parquet into a new "
                    f"folder, or name each file to read"
                )

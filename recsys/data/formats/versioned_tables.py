"""Folders of tables that keep several versions of their rows: the files alone do not show which rows are valid."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from recsys.errors import DataError

_KINDS = (
    ("Delta", "_delta_log", r"\d{20}\.(json|checkpoint.*)", "deltalake.DeltaTable(folder).to_pyarrow_dataset()"),
    ("Iceberg", "metadata", r".*\.metadata\.json", "pyiceberg's table.scan().to_arrow_batch_reader()"),
    ("Hudi", ".hoodie", r"hoodie\.properties", "what its own reader gives as an Arrow table"),
    ("Lance", "_versions", r".*\.manifest", "lance.dataset(folder)"),
)
"""Kind, the folder within that holds its log, what the log's files are called, and what to pass in Python."""


def refuse_versioned(folders: Sequence[Path]) -> None:
    """Refuse folders that hold such a table.

    Raises
    ------
    DataError
        One does; the message says how to read it.
    """
    for folder in folders:
        for kind, inner, name, instead in _KINDS:
            log = folder / inner
            if log.is_dir() and any(re.fullmatch(name, one.name) for one in log.iterdir()):
                raise DataError(
                    f"the folder {folder} is a {kind} table, whose files also hold rows that were removed or replaced; "
                    f"in Python, read {instead} in its place; for the command line, write the table as Parquet into a new "
                    f"folder, or name each file to read"
                )

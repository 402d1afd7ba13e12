"""Frames as plain text for a terminal."""

from __future__ import annotations

import polars as pl


def as_text(frame: pl.DataFrame) -> str:
    """A frame as aligned columns, without borders or dtypes; numbers with four decimals."""
    with pl.Config(
        tbl_formatting="NOTHING",
        tbl_hide_column_data_types=True,
        tbl_hide_dataframe_shape=True,
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_cell_numeric_alignment="RIGHT",
        fmt_str_lengths=64,
        float_precision=4,
        tbl_width_chars=160,
    ):
        return "\n".join(line.rstrip() for line in str(frame).splitlines() if line.strip())

"""Frames as plain text for a terminal."""

from __future__ import annotations

import polars as pl


def with_intervals(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame for people: a figure with ``_low`` and ``_high`` beside it becomes one cell, "mean ±half the interval"."""
    names = [name for name in frame.columns if f"{name}_low" in frame.columns]
    half = {name: (pl.col(f"{name}_high") - pl.col(f"{name}_low")) / 2 for name in names}
    cells = [
        pl.when(pl.col(name).is_not_null())
        .then(pl.format("{} ±{}", _digits(pl.col(name)), _digits(half[name])))
        .alias(name)
        for name in names
    ]
    return frame.with_columns(cells).drop(f"{name}_{end}" for name in names for end in ("low", "high"))


def _digits(column: pl.Expr) -> pl.Expr:
    return column.map_elements("{:.4f}".format, return_dtype=pl.String)


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

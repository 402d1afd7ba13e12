"""How far the reading of a log has come: rows, rows a second, and the time left of a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys.core.progress import bar, log, on_terminal

_LINE_EVERY = 10.0


@contextmanager
def rows_read(what: str) -> Iterator[Callable[[int, str, float], None]]:
    """A function to call with the rows that were read, the table's name, and the share of the table read by then.

    Parameters
    ----------
    what : str
        The name of the work.
    """
    begun = last = time.monotonic()
    done, before = 0, 0
    current = ""
    shown = bar(desc=what, unit="row", unit_scale=True, leave=False) if on_terminal() else None

    def tell(rows: int, name: str, share: float) -> None:
        nonlocal done, before, current, last
        if name != current:
            current, before = name, done
        done += rows
        expected = before + round((done - before) / share) if share else done
        now = time.monotonic()
        if shown is not None:
            shown.total = expected
            shown.set_postfix_str(Path(name).name, refresh=False)
            shown.update(rows)
        elif now - last > _LINE_EVERY:
            last = now
            rate = done / (now - begun)
            log(
                f"{what}: {done:,} rows, {rate:,.0f} a second, {share:.0%} of {Path(name).name}, "
                f"{(expected - done) / rate:,.0f} s left"
            )

    try:
        yield tell
    finally:
        if shown is not None:
            shown.close()

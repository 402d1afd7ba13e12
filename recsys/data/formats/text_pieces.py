"""Cut a text of rows into pieces of whole rows."""

from __future__ import annotations

from collections.abc import Iterator

from recsys.data.formats.text_bytes import TextBytes


def in_rows(text: TextBytes, quote: str | None, size: int) -> Iterator[tuple[TextBytes, int]]:
    """Cut a text after line ends that end a row.

    Parameters
    ----------
    text : TextBytes
        Whose quotes are known to be paired.
    quote : str or None
        One ASCII character; None: every line end ends a row.
    size : int
        Bytes of a piece; one row may be longer.

    Yields
    ------
    TextBytes, and int
        A piece, and where it ends in the text.
    """
    end, rest = 0, b""
    for block in text.blocks(size):
        data = rest + block
        cut = _last_row_end(data, quote)
        rest = data[cut:]
        if cut:
            end += cut
            yield TextBytes(text.file, data[:cut]), end
    if rest:
        yield TextBytes(text.file, rest), end + len(rest)


def _last_row_end(data: bytes, quote: str | None) -> int:
    """Where the last whole row ends; 0 if none does. The first one begins outside quotes."""
    if quote is None:
        return data.rfind(b"\n") + 1
    quotes = data.count(quote.encode())
    end = len(data)
    while end := data.rfind(b"\n", 0, end) + 1:
        inside = (quotes - data.count(quote.encode(), end)) % 2
        if not inside:
            return end
        end -= 1
    return 0

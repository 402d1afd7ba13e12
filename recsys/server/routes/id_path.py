"""Ids in paths: any text, with slashes and line breaks in it."""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor


class IdConvertor(Convertor[str]):
    """What is left of a path; the framework's own ``path`` ends at a line break, so that such an id had no route."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """The id of a path."""
        return value

    def to_string(self, value: str) -> str:
        """The path of an id."""
        return value


register_url_convertor("id", IdConvertor())

"""Ranking rules as data: what to leave out, raise, pin, cap and vary in ranked lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from recsys.config.options import read_toml
from recsys.serving.rules.file import Boost, Cap, Diversity, Exclude, Freshness, Pin, checked


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Ranking rules as they were written; :func:`recsys.serving.rules.bind.bind` makes them ready for a catalogue.

    They act in this order: exclude, boosts (in the order of the file) and freshness, diversity, caps, pins.

    Attributes
    ----------
    exclude, boost, pin, cap : tuple of rules
    diversity : Diversity or None
    freshness : Freshness or None
    pool : int or None
        How many candidates boosts, freshness and caps choose from; by default ten for each place, and 100 at least.
    source : str
        The file, for messages.

    Examples
    --------
    >>> rules = recsys.Rules.of({"cap": [{"column": "title", "at_most": 1}], "pin": [{"item": "i4", "position": 1}]})
    >>> retriever.recommend("u1", k=3, rules=rules, filter_seen=False)["item_id"][0]
    'i4'
    """

    exclude: tuple[Exclude, ...] = ()
    boost: tuple[Boost, ...] = ()
    pin: tuple[Pin, ...] = ()
    cap: tuple[Cap, ...] = ()
    diversity: Diversity | None = None
    freshness: Freshness | None = None
    pool: int | None = None
    source: str = "the rules"

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a TOML file.

        Every rule may have a ``name``, which is ``boost 1`` and so on by default.

        Raises
        ------
        ConfigError
            The file cannot be read, or says something that rules cannot say; the message names file, rule and key.

        Examples
        --------
        >>> written = '''
        ... pool = 500
        ...
        ... [[exclude]]
        ... where = "stock == 0 or for_adults"
        ...
        ... [[boost]]
        ... name = "own brand"
        ... where = 'brand == "Acme" and price < 20'
        ... times = 1.2
        ...
        ... [[boost]]
        ... items = ["i7", "i9"]
        ... add = 0.1
        ...
        ... [[pin]]
        ... item = "i42"
        ... position = 1
        ...
        ... [[cap]]
        ... column = "brand"
        ... at_most = 2
        ...
        ... [diversity]
        ... lambda = 0.7
        ... pool = 100
        ...
        ... [freshness]
        ... column = "published"
        ... half_life_days = 30
        ... weight = 0.5
        ... '''
        >>> _ = Path("rules.toml").write_text(written)
        >>> rules = Rules.read("rules.toml")
        >>> len(rules.boost), rules.pin[0].item
        (2, 'i42')
        """
        return cls.of(read_toml(Path(path), "the rules file"), str(path))

    @classmethod
    def of(cls, tables: Mapping[str, Any], source: str = "the rules") -> Self:
        """Rules from what a TOML file holds: lists of tables and tables.

        Raises
        ------
        ConfigError
            As for :meth:`read`.
        """
        return cls(**checked(tables, source), source=source)

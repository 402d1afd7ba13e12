"""Random predicates and rules: none runs code or hangs, and none raises anything but a RecsysError.

By hand: ``python -m tests.faults.predicates --rounds 5100``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.data.catalog import Catalog
from recsys.data.filters import matching
from recsys.serving.rules.bind import bind
from recsys.serving.rules.spec import Rules
from tests.faults.tally import Tally, by_hand, judged

CANARY = "RECSYS_CANARY"
_SECONDS = 10
_FITTING = {
    "item_id": ["'i1'", "['i1', 'i2']", "'nope'"],
    "title": ["'a'", "'b|c'", "''", "['a']", "'🚂'", "None"],
    "price": ["1", "-0.0", "1e308", "0.5", "[1, 2.5]", "None"],
    "count": ["1", "-5", "4611686018427387904", "[0, 1]", "0.5"],
    "flag": ["True", "False", "None"],
    "day": ["'2024-01-01'", "'9999-12-31'", "'0001-01-01'", "'2024-02-29'"],
    "at": [
        "'2024-01-02T00:00:00'",
        "'2024-01-02T00:00:00+01:00'",
        "'9999-12-31T23:59:59-23:59'",
        "'0001-01-01T00:00:00+23:59'",
    ],
    "tags": ["'a'", "''", "['a', 'c']"],
    "kind": ["'x'", "'z'", "['x', 'y']"],
    "gap": ["1", "'P1D'", "'1d'", "None"],
    "col('odd name')": ["1", "[1, 2]", "price"],
}
_COLUMNS = [*_FITTING, "nope", "é", "odd name", "col('title')", "col(1)"]
_VALUES = ["1", "-1", "0.5", "1e308", "1e400", "9223372036854775808", "'a'", '"b|c"', "''", "True", "None", "nan", "inf"]
_VALUES += ["-0.0", "'2024-01-01'", "'2024-02-30'", "[]", "()", "'9999-12-31T23:59:59-23:59'", "['a', 1]", "'P1D'", "'1d'"]
_VALUES += [
    "'0001-01-01T00:00:00+23:59'",
    "'\\x00'",
    "'🚂'",
    "b'a'",
    "1j",
    "...",
    "f'{1}'",
    "'x' * 9",
    "2 ** 99999",
    "{1: 2}",
]
_CODE = [f"__import__('os').environ.__setitem__('{CANARY}', '1')", "open('/etc/passwd')", "(lambda: 1)()", "eval('1')"]
_CODE += ["[x for x in title]", "title.__class__", "title[0]", "price := 3", "yield", "await x"]
_COMPARING = ["==", "!=", "<", "<=", ">", ">=", "in", "not in"]
_OPERATORS = [*_COMPARING, "is", "is not", "and", "or", "not", "+", "*", "%", "**", "if", ","]

_RULES: dict[str, dict[str, list[Any]]] = {
    "exclude": {"where": ["price > 1", "flag", "nope == 1", "day == '0001-01-01T00:00:00+23:59'"]},
    "boost": {"items": [["i1"], ["i2", "i3"]], "times": [1.5, 0.5]},
    "pin": {"item": ["i1", "i2", "nope"], "position": [1, 2]},
    "cap": {"column": ["kind", "tags", "title", "price", "gap", "nope"], "at_most": [1, 2]},
    "diversity": {"trade": [0.7, 1.0], "pool": [100, 5]},
    "freshness": {
        "column": ["at", "day", "count", "price", "title", "gap", "nope"],
        "half_life_days": [1, 7.5],
        "weight": [0.5],
    },
}
_SEVERAL = {"exclude", "boost", "pin", "cap"}


def catalog() -> Catalog:
    """Items with a column of nearly every type."""
    frame = pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(6)],
            "title": ["a", "b|c", "", None, "🚂", "d"],
            "price": [1.0, float("nan"), None, -0.0, 1e308, 2.5],
            "count": [1, 2, None, 2**62, -5, 0],
            "flag": [True, False, None, True, True, False],
            "day": [date(2024, 1, 1), date(1, 1, 1), date(9999, 12, 31), None, date(2024, 2, 29), date(1970, 1, 1)],
            "at": [datetime(2024, 1, n + 1, tzinfo=UTC) for n in range(6)],
            "gap": [timedelta(days=n) for n in range(6)],
            "tags": [["a"], [], ["a", "b"], None, ["c"], [None]],
            "kind": pl.Series(["x", "y", "x", None, "y", "x"], dtype=pl.Categorical),
            "odd name": [1, 2, 3, 4, 5, 6],
        }
    )
    return Catalog.from_frame(frame, text=["title"])


def predicate(random: np.random.Generator, depth: int = 0) -> str:
    """Text that is mostly a predicate, and sometimes anything else."""

    def one(words: list[str]) -> str:
        return words[int(random.integers(len(words)))]

    chance = random.random()
    if depth > 3 or chance < 0.35:
        column = one(list(_FITTING))
        text = f"{column} {one(_COMPARING)} {one(_FITTING[column])}"
    elif chance < 0.5:
        text = f"{one(_COLUMNS)} {one(_OPERATORS)} {one(_VALUES + _COLUMNS)}"
    elif chance < 0.75:
        text = f"({predicate(random, depth + 1)}) {one(['and', 'or', 'and not'])} {predicate(random, depth + 1)}"
    elif chance < 0.85:
        text = f"not {predicate(random, depth + 1)}"
    elif chance < 0.93:
        text = one(_CODE) + " " + one(_OPERATORS) + " " + one(_VALUES)
    else:
        text = "(" * int(random.integers(300)) + one(_COLUMNS) + ")" * int(random.integers(300))
    if depth == 0 and random.random() < 0.2:
        at = int(random.integers(len(text) + 1))
        text = text[:at] + chr(int(random.integers(1, 0x2FF))) * int(random.integers(1, 4)) + text[at + 1 :]
    return text


def rules(random: np.random.Generator) -> dict[str, Any]:
    """Tables of rules: some are right, many are not."""

    def one(choices: list[Any]) -> Any:
        return choices[int(random.integers(len(choices)))]

    odd: list[Any] = [
        -1,
        0,
        2.5,
        float("nan"),
        float("inf"),
        1e308,
        2**70,
        True,
        None,
        "",
        "nope",
        [],
        ["i1", "i1"],
        [None],
        {},
    ]
    odd += [{"a": 1}, "2024-01-01", datetime(9999, 12, 31), date(1, 1, 1), "\0", 10**400, predicate(random)]
    tables = dict[str, Any]()
    for name, fitting in _RULES.items():
        if random.random() < 0.3:
            table = {key: one(values) for key, values in fitting.items()}
            if random.random() < 0.4 and table:
                table[one(list(table))] = one(odd)
            if random.random() < 0.1:
                table[one(["nonsense", "where", "items"])] = one(odd)
            tables[name] = [table] * int(random.integers(1, 3)) if name in _SEVERAL else table
            if random.random() < 0.05:
                tables[name] = one(odd)
    return tables


@contextmanager
def _in_time() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"took more than {_SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(folder: Path, rounds: int, seed: int = 0) -> Tally:
    """Try ``rounds`` predicates and rules."""
    random, items, tally = np.random.default_rng(seed), catalog(), Tally("predicates and rules")
    vectors = random.standard_normal((len(items), 4)).astype(np.float32)
    os.environ.pop(CANARY, None)
    for _ in range(rounds):
        if random.random() < 0.7:
            text = predicate(random)
            with _in_time():
                outcome = judged(lambda text=text: matching(items, text), lambda mask: mask.shape == (len(items),))  # type: ignore[misc]
            tally.add("predicate", outcome.replace("same", "answered"), text)
        else:
            tables = rules(random)
            with _in_time():
                outcome = judged(lambda tables=tables: bind(Rules.of(tables), items, vectors))  # type: ignore[misc]
            tally.add("rules", outcome.replace("same", "answered"), repr(tables))
    tally.add("code", "RAN" if CANARY in os.environ else "none ran")
    return tally


if __name__ == "__main__":
    by_hand(run, 5100)

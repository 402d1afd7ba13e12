"""Pseudonyms of users: keyed HMAC-SHA-256 of their ids, under a key from a file or the environment."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from recsys.core.destination import prove_file
from recsys.core.id_map import IdMap
from recsys.core.progress import log as tell
from recsys.core.progress import warn
from recsys.errors import ConfigError, DataError

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

VARIABLE: Final = "RECSYS_PSEUDONYM_KEY"
"""The variable of the environment that holds the secrets of a key, separated by commas."""
_PREFIX: Final = "p"
"""Makes every pseudonym text, also one that happens to have no letter."""
_DIGITS: Final = 32
"""Hexadecimal digits of a pseudonym: 128 bits, so that two among a billion users meet with a chance of 10⁻²¹."""
_FORM: Final = f"{_PREFIX}[0-9a-f]{{{_DIGITS}}}"
_SECRET: Final = 32
"""Bytes of a secret."""


@dataclass(frozen=True)
class PseudonymKey:
    """A key of pseudonyms: one secret, and one more for each rotation.

    The pseudonym of an id under one secret is ``p`` and the first 32 hexadecimal digits of ``HMAC(secret, id)``; the id is
    its UTF-8, a whole number its decimal digits. Each further secret is applied to the pseudonym under those before it, so
    that a rotation needs no raw id. Whoever lacks the newest secret cannot compute any pseudonym, even with all older ones.

    Attributes
    ----------
    secrets : tuple of bytes
        At least one, of 32 bytes each, the oldest first.

    Raises
    ------
    ConfigError
        There is none, one is of another length, or one occurs twice.

    Examples
    --------
    >>> from recsys.core.pseudonym_key import PseudonymKey
    >>> key = PseudonymKey((bytes(32),))
    >>> key.id, key.pseudonym(42)
    ('1267e1e8a0c3', 'p96ce0a5a8208370ab4abd635460c4c9a')
    """

    secrets: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.secrets or any(len(one) != _SECRET for one in self.secrets):
            raise ConfigError(
                f"a key of pseudonyms has secrets of {_SECRET} bytes; make one with recsys pseudonyms key FILE"
            )
        if len(set(self.secrets)) < len(self.secrets):
            raise ConfigError("a key of pseudonyms holds the same secret twice; make another one")

    @cached_property
    def id(self) -> str:
        """Tells which key it is, and nothing of its secrets."""
        digest = b"recsys pseudonym key"
        for one in self.secrets:
            digest = hmac.digest(one, digest, "sha256")
        return digest.hex()[:12]

    def prefixes(self) -> dict[str, int]:
        """Id of each key that this one came from by rotations, itself the last → its number of secrets."""
        return {PseudonymKey(self.secrets[:count]).id: count for count in range(1, len(self.secrets) + 1)}

    def pseudonyms(self, ids: pl.Series) -> pl.Series:
        """The pseudonyms of ids, one after the other; a million take some two seconds.

        Parameters
        ----------
        ids : Series (n,)
            Int64 or String, as an IdMap holds them, without nulls.

        Returns
        -------
        Series (n,)
            String.
        """
        return _under(self.secrets, ids)

    def pseudonym(self, raw: Hashable) -> str:
        """The pseudonym of one id."""
        return str(self.of([raw])[0])

    def of(self, raw: Iterable[Hashable]) -> pl.Series:
        """The pseudonyms of ids as a caller writes them: 42, 42.0 and "42" are one user."""
        return self.called(IdMap(pl.Series([], dtype=pl.String), "user", checked=True).cast(raw))

    def called(self, ids: pl.Series) -> pl.Series:
        """What callers ask for, Series of String: raw ids become pseudonyms, and pseudonyms and nulls stay as they are."""
        raw = ids.is_not_null() & ~ids.str.contains(f"^{_FORM}$").fill_null(value=True)
        if not raw.any():
            return ids
        places = raw.arg_true()
        return ids.scatter(places, self.pseudonyms(ids.gather(places)))

    def rotated(self, pseudonyms: pl.Series, newer: PseudonymKey) -> pl.Series:
        """Pseudonyms under this key as those under a key that came from it.

        Raises
        ------
        ConfigError
            The other key did not come from this one.
        """
        more = newer.secrets[len(self.secrets) :]
        if newer.secrets != self.secrets + more or not more:
            raise ConfigError(
                f"the key {newer.id} did not come from {self.id}; make it by recsys pseudonyms key FILE --after OLD"
            )
        return _under(more, pseudonyms)


def _under(keys: tuple[bytes, ...], ids: pl.Series) -> pl.Series:
    made: list[str] = ids.cast(pl.String).to_list()
    for secret in keys:
        inner, outer = (hashlib.sha256(bytes(one ^ pad for one in secret.ljust(64, b"\0"))) for pad in (0x36, 0x5C))
        made = [_PREFIX + _digest(inner, outer, one) for one in made]
    return pl.Series(ids.name, made, dtype=pl.String)


def _digest(inner: Hash, outer: Hash, text: str) -> str:
    """HMAC (RFC 2104) from the two hashes that have read the padded key, which is twice as fast as a call for each id."""
    one, two = inner.copy(), outer.copy()
    one.update(text.encode())
    two.update(one.digest())
    return two.hexdigest()[:_DIGITS]


def pseudonyms_of(ids: pl.Series, key: PseudonymKey) -> pl.Series:
    """The pseudonyms of raw ids, Series (n,) of Int64 or String.

    Raises
    ------
    DataError
        An id is written as a pseudonym is: then nobody could tell which of the two it is.
    """
    odd = ids.cast(pl.String).str.contains(f"^{_FORM}$")
    if odd.any():
        raise DataError(
            f"the user id {ids.filter(odd)[0]!r} is written as a pseudonym is; if these are pseudonyms already, leave out "
            "--pseudonymise"
        )
    return key.pseudonyms(ids)


def asked_by_raw_ids(users: IdMap, key: PseudonymKey | None, wanted: str | None, place: str) -> IdMap:
    """The users of a bundle or store, to be looked up by raw ids.

    Without a key they are looked up by pseudonyms alone, which a line says.

    Raises
    ------
    ConfigError
        The key is not the one of the pseudonyms.
    """
    if wanted is None:
        return users
    if key is None:
        tell(f"the users of {place} are pseudonyms: to ask by ids, give the key {wanted} ({VARIABLE}, --pseudonym-key)")
        return users
    checked_key(key, wanted, place)
    return users.asked_by(key.called)


def parsed_key(text: str, where: str) -> PseudonymKey:
    """A key from text: secrets of 64 hexadecimal digits, separated by commas or line ends.

    Raises
    ------
    ConfigError
        It is written otherwise; nothing of it is in the message.
    """
    words = text.replace(",", " ").split()
    if not words or any(re.fullmatch(f"[0-9a-fA-F]{{{2 * _SECRET}}}", one) is None for one in words):
        raise ConfigError(
            f"{where} holds no key of pseudonyms, which is {2 * _SECRET} hexadecimal digits a line; make one with recsys "
            "pseudonyms key FILE"
        )
    return PseudonymKey(tuple(bytes.fromhex(one) for one in words))


def read_key(file: Path | None = None, *, option: str = "--pseudonym-key", environment: bool = True) -> PseudonymKey | None:
    """The key in a file or, without one, in the variable ``RECSYS_PSEUDONYM_KEY``; None where neither is given.

    Where both are given they must agree, unless the environment is not to be looked at.

    Raises
    ------
    ConfigError
        The file cannot be read, holds no key, or another one than the environment.
    """
    text = os.environ.get(VARIABLE) if environment else None
    given = None if not text else parsed_key(text, VARIABLE)
    if file is None:
        return given
    try:
        if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
            warn(f"{option} {file} can be read by others than its owner: chmod 600 it")
        found = parsed_key(file.read_text(encoding="utf-8"), f"{option} {file}")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"{option} {file} cannot be read: {why}") from error
    if given is not None and given.id != found.id:
        raise ConfigError(f"{option} {file} holds the key {found.id}, and {VARIABLE} the key {given.id}; give one of them")
    return found


def make_key(file: Path, after: PseudonymKey | None = None) -> PseudonymKey:
    """Make a key in a new file that its owner alone may read; with ``after``, one that older pseudonyms can be moved to.

    Raises
    ------
    ConfigError
        The file is there already, or cannot be written.
    """
    prove_file(file, option="FILE")
    made = PseudonymKey((*(() if after is None else after.secrets), secrets.token_bytes(_SECRET)))
    text = "".join(f"{one.hex()}\n" for one in made.secrets)
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError as error:
        raise ConfigError(f"{file} is there already, and a key is never overwritten; name another file") from error
    return made


def checked_key(key: PseudonymKey | None, wanted: str | None, place: str) -> PseudonymKey | None:
    """The key by which ids of a place are found: None for one that holds raw ids.

    Parameters
    ----------
    key : PseudonymKey or None
        What was given.
    wanted : str or None
        Id of the key that the place tells of.
    place : str
        For messages.

    Raises
    ------
    ConfigError
        The place holds pseudonyms, and no key or another one was given.
    """
    if wanted is None:
        return None
    if key is None:
        raise ConfigError(
            f"the users of {place} are pseudonyms under the key {wanted}: give it by --pseudonym-key FILE or {VARIABLE}"
        )
    if key.id != wanted:
        raise ConfigError(f"the users of {place} are pseudonyms under the key {wanted}, and the key {key.id} was given")
    return key

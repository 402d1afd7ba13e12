"""Command-line words: ids that begin with a dash, flags that are misspelt, lists that are given in two parts."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from recsys.cli.screen import show
from recsys.config.renamed import FLAGS
from recsys.core.progress import log, warn

_MARK: Final = "\0"
"""Stands before a word that is an id, so that argparse takes it for no flag; no word of a command line can hold it."""

_KINDS: Final = {"int": "a whole number", "float": "a number"}
"""What argparse calls types, and what people do."""

_MAY_BE_EMPTY = ("quote", "null_values")
"""No quoting at all, and an empty field: what an empty word means for these flags."""


def command(*words: str | Path) -> str:
    """A command of ours as a shell reads it: quoted where need be, with ``./`` before a path that begins with a dash."""
    spoken = [f"./{one}" if isinstance(one, Path) and str(one).startswith("-") else str(one) for one in words]
    return shlex.join(["recsys", *spoken])


def raw_id(word: str) -> str:
    """The type of every argument that takes ids: a word as it is written.

    Raises
    ------
    ArgumentTypeError
        The word is empty, blank, or not UTF-8.
    """
    word = word.removeprefix(_MARK)
    if not word.strip():
        raise argparse.ArgumentTypeError(f"an id is empty: {word!r}")
    try:
        return os.fsencode(word).decode()  # what a terminal of another encoding could not read is UTF-8 all the same
    except UnicodeError:
        raise argparse.ArgumentTypeError(f"the id {word!a} is not UTF-8") from None


def free_text(word: str) -> str:
    """The type of words to search for: as they are written, a dash at the front included.

    Raises
    ------
    ArgumentTypeError
        They are blank, or not UTF-8.
    """
    try:
        return raw_id(word)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(str(error).replace("an id", "a text").replace("the id", "the text")) from None


_FREE: Final = (raw_id, free_text)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and which knows ids from misspelt flags."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["allow_abbrev"] = False  # what "--over" stands for would be a guess
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, and exit with 2."""
        said = " ".join(message.replace(_MARK, "").split())
        print(f"recsys: {plain(said)} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help or version and check that it arrives, which argparse does not do."""
        if code := show(message.rstrip("\n")):
            raise SystemExit(code)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the words of one command, its ids marked first; see :func:`marked`."""
        words = sys.argv[1:] if args is None else list(args)
        if any(isinstance(one, argparse._SubParsersAction) for one in self._actions):
            return super().parse_known_args(words, namespace)
        found, rest = super().parse_known_args(marked(self, words), namespace)
        if rest:
            self.error(f"too many words: {' '.join(rest)}")
        if "items_file" in vars(found) and not found.items and found.items_file is None:
            self.error("the following arguments are required: ITEM, or --items-file")
        first = any(one.dest == "log" and not one.option_strings for one in self._actions)
        if first and not found.log and found.sql is None and not vars(found).get("watch"):
            self.error("the following arguments are required: LOG, or --sql QUERY and --db URL")
        for action in self._actions:
            if action.default is argparse.SUPPRESS:
                continue
            value = getattr(found, action.dest, None)
            for word in value if isinstance(value, list) else [value]:
                if word == "" and action.dest not in _MAY_BE_EMPTY:
                    self.error(f"{next(iter(action.option_strings), action.metavar or action.dest)} is empty: ''")
                if isinstance(word, str) and not word.isascii() and any("\ud800" <= one <= "\udfff" for one in word):
                    self.error(f"{word!a} is not text in {sys.getfilesystemencoding()}: set LC_ALL=C.UTF-8, or rename it")
        return found, rest


def plain(message: str) -> str:
    """An error of argparse in the words of the others.

    Examples
    --------
    >>> plain("argument --epochs: invalid int value: 'ten'")
    "--epochs must be a whole number, not 'ten'"
    """
    if not (found := re.fullmatch(r"argument ([^:]+): (.*)", message)):
        return message
    name, said = found[1], found[2]
    if wrong := re.fullmatch(r"invalid (int|float) value: (.*)", said):
        apart = wrong[2].strip("'").replace(",", " ")
        listed = f"; write numbers apart: {apart}" if re.fullmatch(r"'\d+(,\d+)+'", wrong[2]) else ""
        return f"{name} must be {_KINDS[wrong[1]]}, not {wrong[2]}{listed}"
    if wrong := re.fullmatch(r"invalid choice: ('.*') \(choose from (.*)\)", said):
        known = [one.strip("'") for one in wrong[2].split(", ")]
        near = _meant(next(iter(difflib.get_close_matches(wrong[1].strip("'"), known, n=1)), None))
        if name == "command":
            return f"unknown command {wrong[1]}; the commands are {', '.join(known)}{near}"
        return f"{name} must be one of {', '.join(known)}, not {wrong[1]}{near}"
    if said.startswith("expected "):
        return f"{name} needs {'at least one value' if 'at least' in said else 'a value'}"
    return f"{name}: {said}"


def marked(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """The words of a command, those that are ids marked, and its positional words last.

    A word that begins with a dash is a flag where it is the name of one. Where ids are awaited (after a flag that takes
    ids, or as a positional id) any other is an id, unless it looks like a misspelt flag, which is refused; elsewhere it is
    refused. ``--`` straight after a flag that takes ids says that its ids follow, and nothing else; elsewhere it ends the
    flags, as ever.

    Parameters
    ----------
    parser : ArgumentParser
        The parser of one command.
    words : sequence of str
        Its arguments.
    """
    flags = parser._option_string_actions
    positionals = [one for one in parser._actions if not one.option_strings]
    found, last, taken, met = list[str](), list[str](), list[str](), dict[str, int]()
    owner: argparse.Action | None = None
    fresh = False
    for at, word in enumerate(words):
        name, equals, _ = word.partition("=")
        if word == "--":
            rest = list(words[at + 1 :])
            ids = fresh and owner is not None and owner.type in _FREE
            if ids:
                found += [_MARK + one for one in rest]
            else:
                last += rest
            break
        if name in flags:
            owner = None if equals or flags[name].nargs == 0 else flags[name]
            if flags[name].nargs is None:
                met[name] = met.get(name, 0) + 1
            fresh = True
            found.append(word)
            continue
        if name in FLAGS and FLAGS[name].split()[0] in flags:
            parser.error(f"unknown flag {name}; it is now called {FLAGS[name]}")
        place = owner or (positionals[min(len(last), len(positionals) - 1)] if positionals else None)
        into = last if owner is None else found
        if word.startswith("-") and len(word) > 1 and not _is_value(word):
            if place is None or place.type not in _FREE:
                parser.error(f"unknown flag {name}{_meant(nearest(name, flags))}")
            if near := nearest(name, flags):
                spelt = f"{place.option_strings[0]}={word}" if place.option_strings else f"-- {word}"
                parser.error(f"unknown flag {name}{_meant(near)} An id that is written so is given as {spelt!r}")
            taken.append(word)
            into.append(_MARK + word)
        else:
            into.append(word)
        fresh = False
        if owner is not None and owner.nargs in (None, "?"):
            owner = None
    if taken:
        more = f" and {len(taken) - 3:,} more" if len(taken) > 3 else ""
        log(f"read as ids, not as flags: {' '.join(taken[:3])}{more}")
    for name, times in met.items():
        if times > 1:
            warn(f"{name} is given {times} times; the last one counts")
    return [*found, "--", *last] if last else found


def _is_value(word: str) -> bool:
    """Whether argparse reads this as a value of whatever stands before: a negative number, or text with blanks."""
    try:
        float(word)
    except ValueError:
        return " " in word
    return True


def _meant(near: str | None) -> str:
    return f"; did you mean {near}?" if near else ""


def nearest(word: str, flags: Sequence[str] | dict[str, Any]) -> str | None:
    """The flag that a word most likely means; None where it looks like none of them."""
    plain = {flag.lstrip("-"): flag for flag in flags if flag.startswith("--")}
    asked = word.lstrip("-").replace("_", "-").lower()
    if asked in plain:
        return plain[asked]
    double = word.startswith("--")
    if double and len(asked) > 1 and (begun := [name for name in plain if name.startswith(asked)]):
        return plain[min(begun, key=len)]
    close = difflib.get_close_matches(asked, plain, n=1, cutoff=0.75 if double else 0.85) if len(asked) > 1 else []
    return plain[close[0]] if close else None

"""The command that fits the same model again: the flags of the data, and every option that is not its default."""

from __future__ import annotations

import shlex
from dataclasses import MISSING, asdict, fields
from typing import Any

from recsys.bundle.contents import Bundle
from recsys.config.recipe import TABLES

_LINE = 100


def command(bundle: Bundle) -> str:
    """How to fit the model again and report on it, as lines for a shell; LOG, ITEMS, USERS, RULES and BAD stand for files.

    Parameters
    ----------
    bundle : Bundle
        Its record says how the log was read and split, if the command ``fit`` did that.
    """
    words = ["recsys", "fit", "LOG", *_data_words(bundle)]
    for table, options in options_of(bundle).items():
        for field in fields(TABLES[table]):
            default = field.default if field.default is not MISSING else None
            if field.name in options and not _same(value := options[field.name], default):
                words += _words(field.name, value)
    lines = [""]
    for word in [*words, "--out", "RUN"]:
        if word.startswith("--") and len(lines[-1]) > _LINE:
            lines.append(" ")
        lines[-1] = f"{lines[-1]} {shlex.quote(word)}"
    return " \\\n".join(lines).strip() + "\nrecsys report RUN --out report.html"


def options_of(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """All options by table of a recipe; a table is empty if its options are not known."""
    rest = {"objective": bundle.objective, "augment": bundle.augment, "training": bundle.training}
    private = (bundle.record.get("privacy") or {}).get("options", {})
    known = {name: {} if one is None else asdict(one) for name, one in rest.items()}
    return {"model": bundle.options} | known | ({"privacy": private} if private else {})


def _data_words(bundle: Bundle) -> list[str]:
    reading = bundle.reading
    if reading is not None:
        files = [*(["--catalog", "ITEMS"] if reading.get("catalog") else [])]
        files += ["--user-table", "USERS"] if reading.get("user_table") else []
        files += ["--clean", "RULES"] if reading.get("clean") else []
        files += ["--quarantine", "BAD"] if reading.get("quarantine") else []
        files += ["--relations", "RELATIONS"] if reading.get("relations") else []
        refit = ["--refit", str(reading["refit"])] if reading.get("refit") else []
        return [*files, *map(str, reading.get("words", [])), "--split", str(reading.get("split", "last")), *refit]
    options, text = bundle.options, bundle.catalog.text_columns
    of_items = text or options.get("categories") or options.get("numbers") or options.get("images")
    words = ["--catalog", "ITEMS", *(["--text", *text] if text else [])] if of_items else []
    if bundle.towers.user_codes is not None:
        words += ["--user-table", "USERS"]
    protocol = "" if bundle.holdout is None else bundle.holdout.protocol
    words += next((["--split", how] for how in ("time", "random") if protocol.startswith(how)), [])
    if not bundle.ordered:
        words.append("--unordered")
    return words


def _same(value: Any, default: Any) -> bool:
    return bool(value == default) or (isinstance(value, list | tuple) and tuple(value) == (default or ()))


def _words(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, list | tuple):
        return [flag, *map(str, value)]
    text = "none" if value is None else str(value)
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]

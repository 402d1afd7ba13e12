"""A bundle's facts, without loading its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsys.bundle import config as bundle_config
from recsys.bundle import manifest
from recsys.bundle.exposure import exposure_facts
from recsys.bundle.lineage import lineage_facts
from recsys.bundle.privacy import privacy_facts
from recsys.core.opened import Source
from recsys.transitions import io as transition_files


def _facts(told: dict[str, Any], source: Source) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]:
    try:
        for file in source.files.values():
            file.check()
        return told, bundle_config.parsed(source), transition_files.read_form(source)
    finally:
        source.close()


def describe(folder: Path) -> dict[str, Any]:
    """A bundle's facts, its files verified, without loading the model."""
    told, config, transitions = manifest.reading(Path(folder), _facts)
    size = sum(entry["bytes"] for entry in told["files"].values())
    training, lineage = config["training"], told.get("lineage")
    return {
        "bundle": str(folder),
        "created": told["created"],
        "verified_files": len(told["files"]),
        "bytes": size,
        "data": told["data"],
        "model": config["model"],
        "transitions": transitions,
        "holdout": config["holdout"],
        "best_epoch": training.get("best_epoch"),
        "training_seconds": round(training.get("seconds", 0)),
        "refitted_events": training.get("refitted_events") or 0,
        **({} if lineage is None else {"lineage": lineage_facts(lineage)}),
        **({"privacy": privacy_facts(spent)} if (spent := training.get("privacy")) else {}),
        **({"exposure": exposure_facts(told_of)} if (told_of := training.get("exposure")) else {}),
        "decided": {one["option"]: f"{one['value']}: {one['because']}" for one in training.get("decisions") or []},
        "test": {
            name: f"{value:.4f}" if isinstance(value, int | float) else str(value)
            for name, value in told["metrics"].items()
        },
        "library_versions": told["library_versions"],
    }


def describe_text(facts: dict[str, Any]) -> str:
    """The facts as lines for people."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines.append(name.replace("_", " "))
            lines += [f"  {key:<25}{one}" for key, one in value.items()]
        else:
            lines.append(f"{name.replace('_', ' '):<24}{value:,}" if isinstance(value, int) else f"{name:<24}{value}")
    return "\n".join(lines)


def recorded_reading(folder: Path) -> list[str]:
    """The words of the command line by which ``recsys fit`` read the log of a bundle; none if it was read in Python.

    Raises
    ------
    BundleError
        There is no bundle, or its configuration is damaged.
    """

    def read(told: dict[str, Any], source: Source) -> list[str]:
        try:
            reading = bundle_config.parsed(source).get("reading") or {}
        finally:
            source.close()
        words = reading.get("words", [])
        return [str(word) for word in words] if isinstance(words, list) else []

    return manifest.reading(Path(folder), read)

"""Tell what a store is, from its manifest."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from recsys.data.clean.waterfall import told
from recsys.data.store.reader import read_store


def describe(folder: Path, *, verify: bool = False) -> dict[str, Any]:
    """Count what a store holds, and list what it was made from.

    Parameters
    ----------
    folder : Path
    verify : bool
        Whether to compare the digests of all files too.

    Returns
    -------
    dict
        Plain values, ready for JSON.

    Raises
    ------
    DataError, DamagedError
        As :func:`~recsys.data.store.reader.read_store`.
    """
    store = read_store(folder, verify=verify)
    manifest = store.manifest
    return {
        "store": str(folder),
        "events": manifest.events,
        "users": len(store.users),
        "items": len(store.items),
        "bytes": sum(size for _, size in manifest.files.values()),
        "runs": len(manifest.parts) - 1,
        "fingerprint": manifest.fingerprint,
        "pseudonym_key": manifest.pseudonym_key,
        "verified": verify,
        "imports": [asdict(one) | {"source": list(one.source)} for one in manifest.imports],
        "waterfall": list(manifest.waterfall),
    }


def describe_text(facts: dict[str, Any]) -> str:
    """These facts as lines for people."""
    megabytes = facts["bytes"] / 1e6
    lines = [
        f"store {facts['store']}: {facts['events']:,} events, {facts['users']:,} users, {facts['items']:,} items, "
        f"{megabytes:,.1f} MB, fingerprint {facts['fingerprint'][:12]}"
    ]
    if facts["pseudonym_key"]:
        lines.append(f"users are pseudonyms under the key {facts['pseudonym_key']}")
    if facts["runs"]:
        lines.append(f"runs that are merged when an event is first looked at: {facts['runs']}")
    for one in facts["imports"]:
        if one["users"] < 0:
            lines.append(f"  {', '.join(one['source'])}: {-one['users']:,} users with {-one['events']:,} events")
            continue
        late = f", {one['late']:,} of them late" if one["late"] else ""
        lines.append(f"  from {', '.join(one['source']) or 'memory'}: {one['events']:,} events{late}")
    for one in facts["waterfall"]:
        lines += ["  cleaning", *(f"    {line}" for line in told(one))]
    if facts["verified"]:
        lines.append("every byte is as it was written")
    return "\n".join(lines)

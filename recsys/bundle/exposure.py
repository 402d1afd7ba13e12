"""What floors of exposure did and cost, in words: for the one who trains, for the command line and for the model card."""

from __future__ import annotations

from typing import Any


def exposure_sentence(told: dict[str, Any]) -> str:
    """What floors of exposure did and cost, as one line."""
    groups = "; ".join(
        f"{one['group']} from {one['before']:.1%} to {one['after']:.1%} of the places (floor {one['floor']:.1%}, scores "
        f"times {one['factor']:.3g})"
        for one in told["groups"]
    )
    figures = ", ".join(
        f"{one['name']} {one['before']:.4f} to {one['after']:.4f}"
        + (f" ({one['after'] / one['before'] - 1:+.1%})" if one["before"] else "")
        for one in told["figures"]
    )
    return f"exposure by {told['column']}, on {told['users']:,} validation users: {groups}; price: {figures}"


def exposure_rows(told: dict[str, Any]) -> list[list[str]]:
    """The groups as rows: group, floor, factor, share without, share with."""
    return [
        [
            str(one["group"]),
            f"{one['floor']:.1%}",
            f"{one['factor']:.3g}",
            f"{one['before']:.1%}",
            f"{one['after']:.1%}" + ("" if reached(one) else " (not reached)"),
        ]
        for one in told["groups"]
    ]


def exposure_facts(told: dict[str, Any]) -> dict[str, str]:
    """The same as facts, each one line."""
    found = {
        f"{told['column']}: {group}": f"{before} of the places without, {after} with, floor {floor}, scores times {factor}"
        for group, floor, factor, before, after in exposure_rows(told)
    }
    return found | {one["name"]: f"{one['before']:.4f} without, {one['after']:.4f} with" for one in told["figures"]}


def reached(group: dict[str, Any]) -> bool:
    """Whether a group has its floor on validation."""
    return bool(group["after"] >= group["floor"] - 1e-9)

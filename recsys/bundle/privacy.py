"""What a private training promised, in words: for the one who trains, for people with the bundle, for the model card."""

from __future__ import annotations

from typing import Any, Final

COVERED: Final = "the weights, the item vectors and the index"
NOT_COVERED: Final = (
    "what the bundle keeps to answer from (histories, user ids, held-out events), and figures of these (losses, metrics, "
    "tables and examples of a report)"
)


RELEASED: Final = "the transition memory, popularity and the index"


def covered(spent: dict[str, Any]) -> str:
    """What a promise is about: of towers their weights, of a fast model the one sum that was released."""
    return RELEASED if _released(spent) else COVERED


def _released(spent: dict[str, Any]) -> bool:
    return int(spent["steps"]) == 1 and float(spent["rate"]) == 1.0


def privacy_sentence(spent: dict[str, Any]) -> str:
    """What was spent and how, as one line; see :class:`recsys.training.private.budget.Budget`."""
    promise = f"epsilon {spent['epsilon']:.3g} and delta {spent['delta']:.3g} for each user's whole history"
    if not spent["secure"]:
        promise += ", which holds for nobody who knows the seed of the noise"
    if _released(spent):
        return (
            f"differential privacy: {promise} ({spent['accountant']} accountant): one sum over {spent['users']:,} users, "
            f"each of norm {spent['norm']:g}, with noise of {spent['noise']:.3g} times that norm"
        )
    return (
        f"differential privacy: {promise} ({spent['accountant']} accountant): {spent['steps']:,} steps, each draws "
        f"{spent['rate']:.2%} of {spent['users']:,} users, clips each to {spent['norm']:g} and adds noise of "
        f"{spent['noise']:.3g} times that norm"
    )


def privacy_facts(spent: dict[str, Any]) -> dict[str, str]:
    """The same as facts, each one line."""
    return {
        "epsilon": f"{spent['epsilon']:.3g}",
        "delta": f"{spent['delta']:.3g}",
        "unit": "a user's whole history, added or removed",
        "noise": f"{spent['noise']:.3g} times a norm of {spent['norm']:g}, from "
        + ("the operating system" if spent["secure"] else "a seed, which promises nothing to who knows it"),
        "drawn": "all, once: counts of which item follows which, and of items, in one noisy sum"
        if _released(spent)
        else f"{spent['rate']:.2%} of {spent['users']:,} users in each of {spent['steps']:,} steps",
        "accountant": str(spent["accountant"]),
        "covers": covered(spent),
        "does not cover": NOT_COVERED,
    }

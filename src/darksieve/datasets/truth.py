"""Truth branches: what simulation knows and data does not, and no classifier may see."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from darksieve.datasets.names import basf2_name
from darksieve.errors import InputError

BOOKKEEPING = "__*__"  # event key, candidate number, sampling weight: no physics, or a leak of the sample

# Held against the whole name: basf2's "MC matching and MC truth", "Generator", and the bookkeeping.
WHOLE_NAME = (
    "isSignal*",
    "mc*",
    "*mcPDG*",
    "*mcErrors*",
    "gen*",
    "isContinuumEvent",
    "isNotContinuumEvent",
    "isBackgroundEvent",
    "isMC",
    "is_true_pair",
    "matchedMC*",
    "*MCMatch*",
    "nMC*",
    "*truth*",
    "*Truth*",
    BOOKKEEPING,
)
# Held against each word of a compound name: gamma1_mcPDG, daughter(0, isSignal), useCMSFrame(mcE)
_IN_A_WORD = (
    "isSignal*",
    "mc[A-Z]*",
    "gen[A-Z]*",
    "isContinuumEvent",
    "isNotContinuumEvent",
    "isCloneTrack",
    "isOrHasCloneTrack",
    "isMisidentified",
    "isWrongCharge",
    "isExtendedSignal",
    "isPrimarySignal",
    "isMCDescendantOfList",
    "clusterBestMCPDG",
    "matchedMC*",
)


def truth_pattern(feature: str, extra: Iterable[str] = ()) -> str | None:
    """The pattern that makes a feature truth, None if none does.

    Args:
        feature: Name in basf2's or ROOT's form.
        extra: More patterns (shell style: ``*``, ``?``) for the whole name, from ``never_features``.
    """
    forms = {feature, basf2_name(feature)}
    for pattern in (*WHOLE_NAME, *extra):
        if any(fnmatchcase(form, pattern) or form == pattern for form in forms):
            return pattern
        if basf2_name(pattern) in forms:
            return pattern
    words = [word for form in forms for word in re.split(r"[^A-Za-z0-9]+|_+", form) if word]
    for pattern in _IN_A_WORD:
        if any(fnmatchcase(word, pattern) for word in words):
            return pattern
    return None


def refuse_truth(features: Iterable[str], extra: Iterable[str] = ()) -> None:
    """Refuse features that are truth.

    Raises:
        InputError: Names each such feature and the pattern that it matches.
    """
    extra = tuple(extra)
    refused = [(name, pattern) for name in features if (pattern := truth_pattern(name, extra)) is not None]
    if refused:
        listed = ", ".join(f"{name!r} (matches {pattern!r})" for name, pattern in refused)
        what = "is known in simulation only or marks the sample"
        raise InputError(f"no classifier may see {listed}: such a branch {what}; take it out of features")

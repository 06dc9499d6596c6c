"""What looks wrong in a file's numbers, though nothing forbids it: sentinels not declared, units of MeV."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.files import iterate_branches
from darksieve.datasets.lists import Lists
from darksieve.datasets.missing import matches
from darksieve.datasets.names import basf2_name
from darksieve.datasets.read_plan import ReadPlan

ROWS = 20_000  # that are looked at: the first of a sample
# Habits of basf2 ntuples, from memory: -1 in shape variables, -999 and its like elsewhere
_SENTINELS = (-1.0, -99.0, -999.0, -9999.0)
_FAR = -90.0  # at or below it a sentinel is none of the numbers that it stands among
_LEAST_SHARE = 0.005  # of the rows, that a pile-up of -1 has
_LEAST_DISTINCT = 50  # values of a column that is no count
_TIMES_THE_NEXT = 5.0  # as often as any other value
_IN_GEV = re.compile(
    r"E|p|pt|px|py|pz|M|m|mass|energy|momentum|InvM|Mbc|deltaE|[pem]Recoil|clusterE|roeE|genM"
)
_DIFFERENCES = ("deltaE",)  # small by nature


def sentinel_in(values: NDArray) -> tuple[float, float] | None:
    """A value that looks as if it meant "missing", and its share of the rows; None if none does.

    Values far below all others are suspected at once; −1 only in a column of many different values, where it
    is by far the most frequent.

    Args:
        values: Numbers, shape (n,).
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        return None
    for sentinel in _SENTINELS:
        is_it = finite == sentinel
        others = finite[~is_it]
        if not is_it.any() or not len(others):
            continue
        share = float(is_it.mean())
        if sentinel <= _FAR:
            if others.min() > sentinel / 2:
                return sentinel, share
            continue
        distinct, counts = np.unique(others, return_counts=True)
        is_pile_up = share >= _LEAST_SHARE and is_it.sum() >= _TIMES_THE_NEXT * counts.max()
        if len(distinct) >= _LEAST_DISTINCT and is_pile_up:
            return sentinel, share
    return None


def wrong_unit(name: str, values: NDArray, sqrt_s: float) -> str | None:
    """What a column that is named as an energy, mass or momentum seems to be in, if not in GeV.

    Args:
        name: Of the column, in basf2's or ROOT's form.
        values: Numbers, shape (n,).
        sqrt_s: Energy of the collision in GeV, which no energy in GeV exceeds by much.

    Returns:
        ``"MeV"`` where the median size is above twice ``sqrt_s``, ``"TeV"`` where nothing reaches a
        thousandth of it, else None.
    """
    words = [word for word in re.split(r"[^A-Za-z0-9]+", basf2_name(name)) if word]
    words += [part for word in words for part in word.split("_")]
    meant = [word for word in words if _IN_GEV.fullmatch(word)]
    size = np.abs(values[np.isfinite(values)].astype(np.float64))
    if not meant or not len(size) or not size.any():
        return None
    if np.median(size) > 2 * sqrt_s:
        return "MeV"
    if size.max() < sqrt_s / 1000 and not any(word in _DIFFERENCES for word in meant):
        return "TeV"
    return None


def suspicions(
    plan: ReadPlan, sqrt_s: float, ranges: Mapping[str, tuple[float, float]] | None = None
) -> list[str]:
    """What looks wrong in the first rows of a sample, one line each.

    Args:
        plan: What is read of the sample.
        sqrt_s: Energy of the collision in GeV.
        ranges: Column -> range in which some of its values are expected: observables and their scan.

    Raises:
        InputError: If the first file cannot be read.
    """
    info = plan.files.trees[0]
    own = {name: info.names.get(name) for name in plan.types if not name.startswith("__")}
    if not own:
        return []
    columns, _ = next(iterate_branches(info.path, info.tree, set(own.values()), ROWS))
    said = []
    as_it_is = {*plan.out, *plan.selected_on, *plan.momentum_branches}  # others are scaled, perhaps
    for name, branch in own.items():
        given = columns[branch]
        values = given.values if isinstance(given, Lists) else given
        place = f"{info.place}: {name!r}"
        if values.dtype.kind == "b":
            continue
        declared = plan.sentinels.values_of(name)
        found = None if declared else sentinel_in(values)
        if found is not None:
            said.append(
                f"{place} is {found[0]:g} in {100 * found[1]:.3g} % of the rows; if that means 'missing', "
                f"say so: candidates.missing: {{{name!r}: [{found[0]:g}]}}"
            )
        kept = values[~np.isin(values, declared)] if declared else values
        unit = wrong_unit(name, kept, sqrt_s) if name in as_it_is else None
        if unit is not None:
            said.append(
                f"{place} has a median size of {np.nanmedian(np.abs(kept)):.4g} at sqrt(s) = {sqrt_s:.4g} "
                f"GeV; is it in {unit}? darksieve takes GeV: scale it in candidates.columns"
            )
        if ranges is not None and name in ranges:
            low, high = ranges[name]
            if not ((kept >= low) & (kept <= high)).any():
                said.append(
                    f"{place} lies in the scan's range, {low:g} to {high:g} GeV, in none of the first "
                    f"{len(kept)} rows; it goes from {np.nanmin(kept):.4g} to {np.nanmax(kept):.4g}"
                )
    return said


def unused_patterns(patterns: Iterable[str], plans: Iterable[ReadPlan]) -> list[str]:
    """Patterns of missing values that match no branch of any file."""
    names = {name for plan in plans for tree in plan.files.trees for name in tree.types}
    return [pattern for pattern in patterns if not any(matches(pattern, name) for name in names)]

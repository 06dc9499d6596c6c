"""Sentinels: numbers such as −1 or −999 by which an ntuple says that a value is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.derived import DerivedColumns
from darksieve.datasets.lists import Lists
from darksieve.datasets.names import basf2_name, root_name
from darksieve.errors import InputError


class MissingValues:
    """Which values of which branches mean "missing"; they become NaN.

    Args:
        patterns: Pattern (shell style: ``*``, ``?``) over the whole name, in either form -> values.
        place: Where they are declared, for messages.

    Raises:
        InputError: If a value is not a finite number, or a pattern has none.
    """

    def __init__(self, patterns: Mapping[str, Sequence[float]], place: str = "candidates.missing") -> None:
        self.patterns = {
            pattern: tuple(float(value) for value in values) for pattern, values in patterns.items()
        }
        for pattern, values in self.patterns.items():
            if not values or not np.isfinite(values).all():
                raise InputError(f"{place}.{pattern}: {list(values)}; give the numbers that mean 'missing'")

    def values_of(self, name: str) -> tuple[float, ...]:
        """The values that mean "missing" in a branch; empty where none is declared."""
        return tuple(
            dict.fromkeys(
                value
                for pattern, values in self.patterns.items()
                if matches(pattern, name)
                for value in values
            )
        )

    @staticmethod
    def type_of(dtype: np.dtype) -> np.dtype:
        """A type that holds the branch's numbers and NaN."""
        return dtype if dtype.kind == "f" else np.result_type(dtype, np.float32)


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern means a name, each in basf2's or ROOT's form."""
    forms = {name, basf2_name(name), root_name(name)}
    return any(fnmatchcase(form, pattern) or form == pattern for form in forms)


def without_sentinels(values: NDArray | Lists, sentinels: Sequence[float]) -> NDArray | Lists:
    """The same numbers with NaN for the sentinels, in a new array where there are any.

    Args:
        values: Floating-point numbers, shape (n,), or lists of them.
        sentinels: Numbers that mean "missing", compared in the values' own precision.
    """
    if isinstance(values, Lists):
        flat = without_sentinels(values.values, sentinels)
        return Lists(flat, values.offsets) if flat is not values.values else values  # type: ignore[arg-type]
    is_missing = values == values.dtype.type(sentinels[0])
    for sentinel in sentinels[1:]:
        is_missing |= values == values.dtype.type(sentinel)
    if not is_missing.any():
        return values
    return np.where(is_missing, values.dtype.type(np.nan), values)


def columns_that_may_be_missing(
    names: Iterable[str],
    own: DerivedColumns,
    sentinels: MissingValues,
    branches_of: Callable[[str], Iterable[str]],
) -> set[str]:
    """Those of some columns in which NaN means "missing".

    A branch with sentinels, a column computed from one, and one that reduces lists, which may be empty.

    Args:
        names: Columns of events.
        own: Columns defined by expressions.
        sentinels: Values that mean "missing".
        branches_of: Branches that a column which is not derived is read from.
    """
    names = list(names)

    def has_sentinels(name: str) -> bool:
        return any(sentinels.values_of(branch) for branch in branches_of(name))

    missing = {name for name in names if name not in own and has_sentinels(name)}
    for name in own.used_by(names):
        expression = own.expression(name)
        used = [
            one for one in expression.branches if one in missing or (one not in own and has_sentinels(one))
        ]
        if used or expression.may_be_missing:
            missing.add(name)
    return missing

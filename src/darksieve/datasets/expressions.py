"""Expressions over branches: a small language of its own, parsed and computed without Python's ``eval``.

    Mbc > 5.27 and abs(deltaE) < 0.2 and not (0.50 < M_gg < 0.58)

Words ``and or not``, comparisons (also chained), ``+ - * / % **``, ``abs min max sqrt log exp``, numbers,
``True`` and ``False``; everything else is the name of a branch. A name may carry basf2's brackets:
``KSFWVariables(hso00)`` and ``useCMSFrame(p)`` are branches, not calls. Names with other characters stand in
backticks.

Branches that hold a list per row are reduced to one number, by ``count sum mean min_of max_of first``:

    sum(roeE * (roePt > 0.1)) < 2 and count(roePt > 0.5) <= 1

Inside, arithmetic goes element by element, and a branch of single numbers counts for each element. ``count``
of a condition counts the elements that fulfil it. Of an empty list ``count`` and ``sum`` are 0, the other
reductions NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.expression_parser import FUNCTIONS, Parser, Step, expression_error
from darksieve.datasets.lists import REDUCTIONS, Lists
from darksieve.datasets.names import BranchNames
from darksieve.errors import InputError, nearest

_UNARY: dict[str, Callable[[Any], Any]] = {"abs": np.abs, "sqrt": np.sqrt, "log": np.log, "exp": np.exp}
_MANY: dict[str, Callable[[Any, Any], Any]] = {"min": np.minimum, "max": np.maximum}

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.mod,
    "**": np.power,
}


def _as_number(value: Any) -> Any:
    """In double precision, so that unsigned branches do not wrap and float32 ones compare as in ROOT."""
    return np.asarray(value, dtype=np.float64) if isinstance(value, np.ndarray) else float(value)


def _as_truth(value: Any) -> Any:
    """A number is true unless it is 0 or NaN (basf2's isSignal is NaN where nothing was matched)."""
    if isinstance(value, np.ndarray):
        return value if value.dtype == bool else (value != 0) & ~np.isnan(value)
    return value if isinstance(value, bool) else value != 0 and not np.isnan(value)


@dataclass(frozen=True)
class Expression:
    """One parsed expression.

    Numbers are computed in double precision. Undefined results (0/0, sqrt of a negative number) are NaN, of
    which every comparison but ``!=`` is false. Where a number stands for a truth value, 0 and NaN are false.

    Attributes:
        text: As the user wrote it.
        branches: Names that it needs, as the user wrote them, each once, in order of appearance.
        list_branches: Those of them that stand only inside reductions, and so may hold lists.

    Raises:
        InputError: If the text is not an expression; says where and what was expected.
    """

    text: str
    branches: tuple[str, ...] = field(init=False)
    list_branches: tuple[str, ...] = field(init=False)
    _program: tuple[Step, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise InputError(f"an expression is text, not {self.text!r}")
        program = Parser(self.text).parse()
        steps = [step for step in program if step.action == "branch"]
        names = dict.fromkeys(step.value for step in steps)
        outside = {step.value for step in steps if not step.reduced}
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "branches", tuple(names))
        object.__setattr__(self, "list_branches", tuple(name for name in names if name not in outside))

    @property
    def may_be_missing(self) -> bool:
        """Whether a reduction in it is undefined for an empty list."""
        return any(step.action == "reduce" and step.value not in ("count", "sum") for step in self._program)

    def check(self, names: BranchNames) -> None:
        """Refuse names that are not there.

        Raises:
            InputError: With the position of the name and the nearest one that there is.
        """
        for step in self._program:
            if step.action != "branch" or step.value in names:
                continue
            head, bracket, _ = str(step.value).partition("(")
            message = str(names.missing(step.value))
            if bracket and nearest(head, FUNCTIONS):
                message += f" (functions are {', '.join(FUNCTIONS)})"
            raise expression_error(self.text, step.start, message)

    def check_lists(self, lists: Collection[str]) -> None:
        """Refuse lists that are not reduced, and reductions of what is no list.

        Args:
            lists: Those of ``branches`` that hold lists.

        Raises:
            InputError: With the position.
        """
        none = np.zeros(0)
        no_lists = Lists(none, np.zeros(1, dtype=np.int64))
        columns: dict[str, NDArray | Lists] = {"": none}
        columns |= {name: no_lists if name in lists else none for name in self.branches}
        self.evaluate(columns)

    def evaluate(self, columns: Mapping[str, NDArray | Lists]) -> NDArray:
        """The expression's value for each row.

        Args:
            columns: Name (basf2's or ROOT's form) -> values, each of shape (n,) or a list per row.

        Returns:
            Shape (n,): bool for a condition, float64 for a number.

        Raises:
            InputError: If a name is not among the columns.
            ValueError: If there are no columns, so that the number of rows is unknown.
        """
        if not columns:
            raise ValueError("no columns: the number of rows is unknown")
        n_rows = len(next(iter(columns.values())))
        if all(name in columns for name in self.branches):
            own_name = {name: name for name in self.branches}
        else:
            names = BranchNames(columns, "the table")
            self.check(names)
            own_name = {name: names.get(name) for name in self.branches}
        stack: list[Any] = []
        with np.errstate(all="ignore"):
            for step in self._program:
                if step.n_operands:
                    operands = stack[-step.n_operands :]
                    del stack[-step.n_operands :]
                    stack.append(self._computed(step, operands))
                elif step.action == "branch":
                    stack.append(self._values(step, columns[own_name[step.value]]))
                else:
                    stack.append(step.value)
        (result,) = stack
        if isinstance(result, np.ndarray):
            return result
        return np.full(n_rows, result, dtype=bool if isinstance(result, bool | np.bool_) else np.float64)

    def _values(self, step: Step, given: NDArray | Lists) -> NDArray | Lists:
        """A branch as the program computes with it: flags as they are, numbers in double precision."""
        if isinstance(given, Lists):
            if not step.reduced:
                raise expression_error(
                    self.text,
                    step.start,
                    f"{step.value!r} holds a list per row; reduce it by one of {', '.join(REDUCTIONS)}",
                )
            return given if given.dtype == bool else given.astype(np.float64, copy=False)
        values = np.asarray(given)
        if values.dtype.kind not in "biuf" or values.ndim != 1:
            raise expression_error(self.text, step.start, f"{step.value!r} holds no single numbers")
        return values if values.dtype == bool else values.astype(np.float64, copy=False)

    def _computed(self, step: Step, operands: list[Any]) -> Any:
        """One operation, element by element where an operand is a list per row."""
        if step.action == "reduce":
            (lists,) = operands
            if not isinstance(lists, Lists):
                raise expression_error(
                    self.text, step.start, f"{step.value} reduces a list per row; its argument holds none"
                )
            return getattr(lists, step.value)()
        shape = next((operand for operand in operands if isinstance(operand, Lists)), None)
        if shape is None:
            return _compute(step, operands)
        flat = []
        for operand in operands:
            if not isinstance(operand, Lists):
                flat.append(shape.repeated(operand) if isinstance(operand, np.ndarray) else operand)
            elif np.array_equal(operand.offsets, shape.offsets):
                flat.append(operand.values)
            else:
                row = int(np.flatnonzero(operand.counts != shape.counts)[0])
                raise InputError(
                    f"expression {self.text!r}: lists of different lengths are combined, "
                    f"{shape.counts[row]} and {operand.counts[row]} numbers in row {row} of the chunk"
                )
        return Lists(_compute(step, flat), shape.offsets)

    def select(self, columns: Mapping[str, NDArray | Lists]) -> NDArray[np.bool_]:
        """Rows for which the expression is true, shape (n,); a number is true unless it is 0 or NaN."""
        return np.asarray(_as_truth(self.evaluate(columns)), dtype=bool)


def _compute(step: Step, operands: list[Any]) -> Any:
    if step.action in ("and", "or"):
        first, second = (_as_truth(operand) for operand in operands)
        return np.logical_and(first, second) if step.action == "and" else np.logical_or(first, second)
    if step.action == "not":
        return np.logical_not(_as_truth(operands[0]))
    numbers = [_as_number(operand) for operand in operands]
    if step.action == "compare":
        result = True
        for name, left, right in zip(step.value, numbers, numbers[1:], strict=False):
            result = np.logical_and(result, _COMPARE[name](left, right))
        return result
    if step.action == "arithmetic":
        return _ARITHMETIC[step.value](numbers[0], numbers[1])
    if step.action in ("negate", "plus"):
        return -numbers[0] if step.action == "negate" else numbers[0]
    if step.value in _UNARY:
        return _UNARY[step.value](numbers[0])
    result = numbers[0]
    for number in numbers[1:]:
        result = _MANY[step.value](result, number)
    return result

"""Expressions over branches: a small language of its own, parsed and computed without Python's ``eval``.

    Mbc > 5.27 and abs(deltaE) < 0.2 and not (0.50 < M_gg < 0.58)

Words ``and or not``, comparisons (also chained), ``+ - * / % **``, ``abs min max sqrt log exp``, numbers,
``True`` and ``False``; everything else is the name of a branch. A name may carry basf2's brackets:
``KSFWVariables(hso00)`` and ``useCMSFrame(p)`` are branches, not calls. Names with other characters stand in
backticks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.names import BranchNames
from darksieve.errors import InputError, nearest

_MAX_DEPTH = 30  # of brackets and signs; deeper ones would exhaust the interpreter's stack

_UNARY: dict[str, Callable[[Any], Any]] = {"abs": np.abs, "sqrt": np.sqrt, "log": np.log, "exp": np.exp}
_MANY: dict[str, Callable[[Any, Any], Any]] = {"min": np.minimum, "max": np.maximum}
FUNCTIONS = (*_UNARY, *_MANY)
_WORDS = ("and", "or", "not", "True", "False")

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
_MENDS = {
    "=": "write '=='",
    "&": "write 'and'",
    "&&": "write 'and'",
    "|": "write 'or'",
    "||": "write 'or'",
    "!": "write 'not'",
    "~": "write 'not'",
    "^": "write '**'",
    "[": "group with round brackets; a name with such characters stands in backticks",
    "]": "group with round brackets; a name with such characters stands in backticks",
}

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<quoted>`[^`]+`)
    |(?P<symbol>\*\*|<=|>=|==|!=|&&|\|\||[-+*/%<>(),])""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class _Token:
    kind: str  # number, name, word, function, symbol, end
    text: str
    start: int


@dataclass(frozen=True)
class _Step:
    """One step of the postfix program: push a value, or replace the top of the stack by a result."""

    action: str  # number, branch, truth, and, or, not, compare, arithmetic, negate, call
    value: Any = None
    n_operands: int = 0
    start: int = 0


def _error(text: str, start: int, what: str) -> InputError:
    return InputError(f"expression {text!r}, character {start + 1}: {what}")


def _closing_bracket(text: str, opening: int) -> int:
    """Position after the bracket that closes the one at ``opening``."""
    depth = 0
    for position in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if depth == 0:
            return position + 1
    raise _error(text, opening, "this bracket is never closed")


def _tokens(text: str) -> list[_Token]:
    tokens = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            character = text[position]
            mend = _MENDS.get(character, "a name with such characters stands in backticks")
            raise _error(text, position, f"{character!r} means nothing here; {mend}")
        kind, piece, start = str(found.lastgroup), found.group(), position
        position = found.end()
        if kind == "space":
            continue
        if kind == "symbol" and piece in _MENDS:
            raise _error(text, start, f"{piece!r} means nothing here; {_MENDS[piece]}")
        if kind == "number" and position < len(text) and re.match(r"[\w.]", text[position]):
            raise _error(text, start, f"{text[start : position + 1]!r} is not a number")
        if kind == "quoted":
            kind, piece = "name", piece[1:-1]
        elif kind == "name":
            opens = position < len(text) and text[position] == "("
            if piece in _WORDS:
                kind = "word"
            elif piece in FUNCTIONS:
                # "abs(x)" is computed; a bare "abs" is nothing that a file would hold
                kind = "function"
            elif opens:
                position = _closing_bracket(text, position)
                piece = text[start:position]
        tokens.append(_Token(kind, piece, start))
    tokens.append(_Token("end", "", len(text)))
    return tokens


class _Parser:
    """Recursive descent with Python's precedences; writes the postfix program as it goes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.position = 0
        self.depth = 0
        self.program: list[_Step] = []

    @property
    def here(self) -> _Token:
        return self.tokens[self.position]

    def fail(self, what: str) -> InputError:
        return _error(self.text, self.here.start, what)

    def take(self, *texts: str) -> _Token | None:
        token = self.here
        if token.kind in ("word", "symbol") and token.text in texts:
            self.position += 1
            return token
        return None

    def emit(self, action: str, value: Any = None, n_operands: int = 0, start: int = 0) -> None:
        self.program.append(_Step(action, value, n_operands, start))

    def parse(self) -> tuple[_Step, ...]:
        if self.here.kind == "end":
            raise self.fail("it is empty")
        self.either()
        if self.here.kind != "end":
            shown = self.here.text
            hint = nearest(shown, _WORDS[:2]) if self.here.kind == "name" else ""
            raise self.fail(f"{shown!r} is not expected after a complete expression{hint}")
        return tuple(self.program)

    def _deeper(self, parse: Callable[[], None]) -> None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.fail(f"nested more than {_MAX_DEPTH} deep")
        parse()
        self.depth -= 1

    def either(self) -> None:
        self.both()
        while self.take("or"):
            self.both()
            self.emit("or", n_operands=2)

    def both(self) -> None:
        self.negation()
        while self.take("and"):
            self.negation()
            self.emit("and", n_operands=2)

    def negation(self) -> None:
        if self.take("not"):
            self._deeper(self.negation)
            self.emit("not", n_operands=1)
        else:
            self.comparison()

    def comparison(self) -> None:
        self.total()
        operators = []
        while operator := self.take(*_COMPARE):
            self.total()
            operators.append(operator.text)
        if operators:
            self.emit("compare", tuple(operators), n_operands=len(operators) + 1)

    def total(self) -> None:
        self.product()
        while operator := self.take("+", "-"):
            self.product()
            self.emit("arithmetic", operator.text, n_operands=2)

    def product(self) -> None:
        self.signed()
        while operator := self.take("*", "/", "%"):
            self.signed()
            self.emit("arithmetic", operator.text, n_operands=2)

    def signed(self) -> None:
        if sign := self.take("+", "-"):
            self._deeper(self.signed)
            self.emit("negate" if sign.text == "-" else "plus", n_operands=1)
        else:
            self.power()

    def power(self) -> None:
        self.atom()
        if self.take("**"):
            self._deeper(self.signed)  # binds to the right, and 2 ** -1 is allowed
            self.emit("arithmetic", "**", n_operands=2)

    def atom(self) -> None:
        token = self.here
        if token.kind == "number":
            self.position += 1
            self.emit("number", float(token.text))
        elif token.kind == "name":
            self.position += 1
            self.emit("branch", token.text, start=token.start)
        elif token.kind == "function":
            self.position += 1
            self.call(token)
        elif word := self.take("True", "False"):
            self.emit("truth", word.text == "True")
        elif self.take("("):
            self._deeper(self.either)
            if not self.take(")"):
                raise self.fail("a ')' is missing here")
        else:
            shown = f"found {token.text!r}" if token.text else "it ends here"
            raise self.fail(f"a number, a branch or a bracket is expected, {shown}")

    def call(self, function: _Token) -> None:
        if not self.take("("):
            raise self.fail(f"{function.text} needs its arguments in brackets")
        n_arguments = 0
        while True:
            self._deeper(self.either)
            n_arguments += 1
            if not self.take(","):
                break
        if not self.take(")"):
            raise self.fail("a ')' is missing here")
        wanted = "one argument" if function.text in _UNARY else "two arguments or more"
        if (n_arguments == 1) != (function.text in _UNARY):
            raise _error(self.text, function.start, f"{function.text} takes {wanted}, not {n_arguments}")
        self.emit("call", function.text, n_operands=n_arguments)


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

    Raises:
        InputError: If the text is not an expression; says where and what was expected.
    """

    text: str
    branches: tuple[str, ...] = field(init=False)
    _program: tuple[_Step, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise InputError(f"an expression is text, not {self.text!r}")
        program = _Parser(self.text).parse()
        names = dict.fromkeys(step.value for step in program if step.action == "branch")
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "branches", tuple(names))

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
            raise _error(self.text, step.start, message)

    def evaluate(self, columns: Mapping[str, NDArray]) -> NDArray:
        """The expression's value for each row.

        Args:
            columns: Name (basf2's or ROOT's form) -> values, each of shape (n,).

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
                    stack.append(_compute(step, operands))
                elif step.action == "branch":
                    values = np.asarray(columns[own_name[step.value]])
                    if values.dtype.kind not in "biuf" or values.ndim != 1:
                        raise _error(self.text, step.start, f"{step.value!r} holds no single numbers")
                    stack.append(values if values.dtype == bool else values.astype(np.float64, copy=False))
                else:
                    stack.append(step.value)
        (result,) = stack
        if isinstance(result, np.ndarray):
            return result
        return np.full(n_rows, result, dtype=bool if isinstance(result, bool | np.bool_) else np.float64)

    def select(self, columns: Mapping[str, NDArray]) -> NDArray[np.bool_]:
        """Rows for which the expression is true, shape (n,); a number is true unless it is 0 or NaN."""
        return np.asarray(_as_truth(self.evaluate(columns)), dtype=bool)


def _compute(step: _Step, operands: list[Any]) -> Any:
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

"""Parsing of expressions: text in, a postfix program out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from darksieve.datasets.lists import REDUCTIONS
from darksieve.errors import InputError, nearest

_MAX_DEPTH = 30  # of brackets and signs; deeper ones would exhaust the interpreter's stack

UNARY = ("abs", "sqrt", "log", "exp")
MANY = ("min", "max")
FUNCTIONS = (*UNARY, *MANY, *REDUCTIONS)
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
_WORDS = ("and", "or", "not", "True", "False")

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
class Step:
    """One step of the postfix program: push a value, or replace the top of the stack by a result."""

    action: str  # number, branch, truth, and, or, not, compare, arithmetic, negate, call, reduce
    value: Any = None
    n_operands: int = 0
    start: int = 0
    reduced: bool = False  # inside a reduction, where a branch may hold lists


def expression_error(text: str, start: int, what: str) -> InputError:
    """The error for a character of an expression."""
    return InputError(f"expression {text!r}, character {start + 1}: {what}")


def _closing_bracket(text: str, opening: int) -> int:
    """Position after the bracket that closes the one at ``opening``."""
    depth = 0
    for position in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if depth == 0:
            return position + 1
    raise expression_error(text, opening, "this bracket is never closed")


def _tokens(text: str) -> list[_Token]:
    tokens = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            character = text[position]
            mend = _MENDS.get(character, "a name with such characters stands in backticks")
            raise expression_error(text, position, f"{character!r} means nothing here; {mend}")
        kind, piece, start = str(found.lastgroup), found.group(), position
        position = found.end()
        if kind == "space":
            continue
        if kind == "symbol" and piece in _MENDS:
            raise expression_error(text, start, f"{piece!r} means nothing here; {_MENDS[piece]}")
        if kind == "number" and position < len(text) and re.match(r"[\w.]", text[position]):
            raise expression_error(text, start, f"{text[start : position + 1]!r} is not a number")
        if kind == "quoted":
            kind, piece = "name", piece[1:-1]
        elif kind == "name":
            opens = position < len(text) and text[position] == "("
            if piece in _WORDS:
                kind = "word"
            elif piece in REDUCTIONS:  # "first" alone may well be a branch
                kind = "function" if text[position:].lstrip().startswith("(") else "name"
            elif piece in FUNCTIONS:
                # "abs(x)" is computed; a bare "abs" is nothing that a file would hold
                kind = "function"
            elif opens:
                position = _closing_bracket(text, position)
                piece = text[start:position]
        tokens.append(_Token(kind, piece, start))
    tokens.append(_Token("end", "", len(text)))
    return tokens


class Parser:
    """Recursive descent with Python's precedences; writes the postfix program as it goes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.position = 0
        self.depth = 0
        self.in_reduction = False
        self.program: list[Step] = []

    @property
    def here(self) -> _Token:
        return self.tokens[self.position]

    def fail(self, what: str) -> InputError:
        return expression_error(self.text, self.here.start, what)

    def take(self, *texts: str) -> _Token | None:
        token = self.here
        if token.kind in ("word", "symbol") and token.text in texts:
            self.position += 1
            return token
        return None

    def emit(self, action: str, value: Any = None, n_operands: int = 0, start: int = 0) -> None:
        self.program.append(Step(action, value, n_operands, start, self.in_reduction))

    def parse(self) -> tuple[Step, ...]:
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
        while operator := self.take(*COMPARISONS):
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
        reduces = function.text in REDUCTIONS
        if reduces and self.in_reduction:
            raise expression_error(
                self.text, function.start, f"{function.text} stands inside another reduction of a list"
            )
        self.in_reduction = self.in_reduction or reduces
        n_arguments = 0
        while True:
            self._deeper(self.either)
            n_arguments += 1
            if not self.take(","):
                break
        if not self.take(")"):
            raise self.fail("a ')' is missing here")
        takes_one = reduces or function.text in UNARY
        if (n_arguments == 1) != takes_one:
            wanted = "one argument" if takes_one else "two arguments or more"
            hint = ""
            if n_arguments == 1:  # max(x), where x may be a list
                hint = f"; {function.text}_of reduces a list"
            what = f"{function.text} takes {wanted}, not {n_arguments}{hint}"
            raise expression_error(self.text, function.start, what)
        if reduces:
            self.in_reduction = False
        self.emit("reduce" if reduces else "call", function.text, n_arguments, function.start)

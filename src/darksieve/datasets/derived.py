"""Columns that the user defines by expressions over branches and other columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from darksieve.datasets.expressions import Expression
from darksieve.errors import InputError


class DerivedColumns:
    """Columns by name, each an expression over branches and over columns defined before it.

    Args:
        definitions: Name -> expression.
        place: Where they are defined, for messages.

    Raises:
        InputError: If a definition is not an expression, or uses itself or a column defined after it.
    """

    def __init__(self, definitions: Mapping[str, str], place: str = "candidates.columns") -> None:
        self.place = place
        self._expressions: dict[str, Expression] = {}
        for name, text in definitions.items():
            try:
                expression = Expression(text)
            except InputError as error:
                raise InputError(f"{place}.{name}: {error}") from None
            later = [used for used in expression.branches if used in definitions]
            later = [used for used in later if used not in self._expressions]
            if later:
                raise InputError(
                    f"{place}.{name}: {later[0]!r} is defined "
                    f"{'by itself' if later[0] == name else 'after it; define it before'}"
                )
            self._expressions[name] = expression

    def __contains__(self, name: object) -> bool:
        return name in self._expressions

    def __iter__(self) -> Iterable[str]:
        return iter(self._expressions)

    def used_by(self, names: Iterable[str]) -> list[str]:
        """The derived columns that some names need, themselves included, in the order of definition."""
        needed: set[str] = set()

        def visit(name: str) -> None:
            if name in self._expressions and name not in needed:
                needed.add(name)
                for used in self._expressions[name].branches:
                    visit(used)

        for name in names:
            visit(name)
        return [name for name in self._expressions if name in needed]

    def sources_of(self, names: Iterable[str]) -> tuple[str, ...]:
        """Branches (or columns of pairing) that some names come from in the end."""
        names = list(names)
        sources = dict.fromkeys(name for name in names if name not in self._expressions)
        for name in self.used_by(names):
            for used in self._expressions[name].branches:
                if used not in self._expressions:
                    sources[used] = None
        return tuple(sources)

    def expression(self, name: str) -> Expression:
        """The expression of a column."""
        return self._expressions[name]

    def add_to(self, columns: MutableMapping[str, Any], names: Iterable[str]) -> None:
        """Compute the derived ones among some names, unless they are there.

        Args:
            columns: Name -> values, shape (n,) or a list per row; gains the derived columns.
            names: Names of which the derived ones are needed.

        Raises:
            InputError: As :meth:`Expression.evaluate`; names the column.
        """
        for name in self.used_by(names):
            if name in columns:
                continue
            try:
                columns[name] = self._expressions[name].evaluate(columns)
            except InputError as error:
                raise InputError(f"{self.place}.{name}: {error}") from None

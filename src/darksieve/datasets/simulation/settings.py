"""Settings of a family of processes: a frozen dataclass of parts, from and to a config's mapping."""

from __future__ import annotations

import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Self

from darksieve.datasets.beams import Beams
from darksieve.errors import InputError, nearest


@dataclass(frozen=True)
class Settings(ABC):
    """What the settings of each family have in common; a family derives a frozen dataclass from it.

    Its attributes are ``beams``, parts (frozen dataclasses of numbers) and single values. A value is a
    number, a whole number, a word, true or false, or a tuple of these; None where the annotation allows it.
    """

    beams: Beams = field(default_factory=lambda: Beams.named("belle2"))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], place: str = "settings") -> Self:
        """Settings from a config's mapping; what is absent has its default.

        Args:
            values: ``beams`` (a name or numbers) and the other attributes, parts as mappings of theirs.
            place: Where the mapping stands in the config, for messages.

        Raises:
            InputError: If a key is not known, or a value is not of the right kind or range.
        """
        return _parse(cls, values, place)

    def to_mapping(self) -> dict[str, Any]:
        """The same as plain numbers and strings: :meth:`from_mapping` gives equal settings back."""
        return asdict(self)

    @abstractmethod
    def unit_and_source(self) -> dict[str, dict[str, float | str]]:
        """Value, unit and source of the rates, by their names, for the sidecar of a sample."""


def _parse(kind: type, values: Any, place: str) -> Any:
    if isinstance(values, kind):
        return values
    if not isinstance(values, Mapping):
        raise InputError(f"{place} is {values!r}; it is a mapping")
    known = [item.name for item in fields(kind)]
    annotations = typing.get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise InputError(f"{place}.{name}: unknown key{nearest(name, known)}")
        arguments[name] = _value(annotations[name], value, f"{place}.{name}")
    return kind(**arguments)


def _value(annotation: Any, value: Any, place: str) -> Any:
    if annotation is Beams:
        return Beams.parse(value)
    if is_dataclass(annotation):
        assert isinstance(annotation, type)
        return _parse(annotation, value, place)
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        kinds = typing.get_args(annotation)
        if value is None and type(None) in kinds:
            return None
        annotation = next(kind for kind in kinds if kind is not type(None))
    if typing.get_origin(annotation) is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{place} is {value!r}; it is a list")
        item = typing.get_args(annotation)[0]
        return tuple(_value(item, each, f"{place}.{i}") for i, each in enumerate(value))
    accepted, what = {
        float: ((int, float), "number"),
        int: ((int,), "whole number"),
        str: ((str,), "word"),
        bool: ((bool,), "true or false"),
    }[annotation]
    if not isinstance(value, accepted) or (isinstance(value, bool) and annotation is not bool):
        raise InputError(f"{place} is {value!r}; it is a {what}")
    return float(value) if annotation is float else value

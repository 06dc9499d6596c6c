"""Schema: the columns that a model learnt from, and whether other events have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from darksieve.datasets.events import Events
from darksieve.datasets.files import TreeInfo
from darksieve.errors import InputError, nearest


@dataclass(frozen=True)
class Schema:
    """Names and types of columns.

    Attributes:
        columns: Name -> type as numpy writes it: ``float32``.
    """

    columns: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", dict(self.columns))

    @classmethod
    def of(cls, events: Events, names: Iterable[str]) -> Schema:
        """Schema of some columns of events.

        Raises:
            KeyError: If a column is not there.
        """
        return cls({name: events[name].dtype.name for name in names})

    def to_json(self) -> dict[str, str]:
        """Plain mapping, to be written as JSON."""
        return dict(self.columns)

    def check_events(self, events: Events, needed_by: str) -> None:
        """Refuse events that lack a column, or have text or flags where there were numbers.

        Raises:
            InputError: Names the column, and the nearest that there is.
        """
        for name, type_name in self.columns.items():
            if name not in events.columns:
                hint = nearest(name, events.columns)
                raise InputError(f"the events have no column {name!r}, which {needed_by} needs{hint}")
            self._check_type(f"column {name!r} of the events", type_name, events[name].dtype, needed_by)

    def check_tree(self, tree: TreeInfo, needed_by: str) -> None:
        """Refuse a file that lacks one of the columns as a branch.

        Raises:
            InputError: Names the file, the branch, and the nearest that there is.
        """
        names = tree.names
        for name, type_name in self.columns.items():
            branch = names.get(name, needed_by)
            self._check_type(f"branch {branch!r} of {tree.place}", type_name, tree.types[branch], needed_by)

    @staticmethod
    def _check_type(what: str, expected: str, found: np.dtype | None, needed_by: str) -> None:
        if found is None or found.kind not in "biuf":
            raise InputError(f"{what} holds no single numbers; {needed_by} needs {expected}")

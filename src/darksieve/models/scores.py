"""Scores: what a model said of every candidate, with all that later stages need to know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from darksieve.atomic import atomic_path
from darksieve.errors import InputError

FORMAT = "darksieve-scores/1"
EVENT_COLUMNS = ("__experiment__", "__run__", "__event__", "__production__")
PARTS = ("choose", "quote")
_PARQUET_NAMES = {  # attribute -> column of the file (DOCUMENTS.md, section 4)
    "key": "event_key",
    "candidate": "__candidate__",
    "sample": "sample",
    "label": "label",
    "weight": "weight",
    "mass": "mass",
    "observable": "observable",
    "fold": "fold",
    "part": "role",
    "score": "score",
    "is_data": "is_data",
}
_DTYPES = {
    "key": np.uint64,
    "candidate": np.int32,
    "sample": np.str_,
    "label": np.float32,
    "weight": np.float64,
    "mass": np.float64,
    "observable": np.float64,
    "fold": np.int8,
    "part": np.str_,
    "score": np.float32,
    "is_data": np.bool_,
}


@dataclass(frozen=True, eq=False)
class Scores:
    """One row per scored candidate, every one of them scored by a model that has not seen its event.

    Attributes (arrays of shape (n,), read-only):
        key: 64-bit hash of the event key.
        candidate: ``__candidate__`` of the row within its event.
        sample: Name of the sample, i.e. the process.
        label: 1 signal, 0 background, NaN for what is neither: data, and wrong pairings of signal events.
        weight: As in ``Events``.
        mass: Generated mass in GeV, NaN where there is none.
        observable: The observable that is scanned (GeV).
        fold: Fold of the event, 0 … k-1; its model has not seen that fold.
        part: "choose" or "quote": whether the event chooses working points or quotes them.
        score: Signal probability at equal priors, float32.
        is_data: Rows of data; rows without a label where not given.
        event_columns: ``__experiment__`` … ``__production__``, as far as the events have them.

    Raises:
        ValueError: If lengths differ, or a part is neither "choose" nor "quote".
    """

    key: NDArray[np.uint64]
    candidate: NDArray[np.int32]
    sample: NDArray[np.str_]
    label: NDArray[np.float32]
    weight: NDArray[np.float64]
    mass: NDArray[np.float64]
    observable: NDArray[np.float64]
    fold: NDArray[np.int8]
    part: NDArray[np.str_]
    score: NDArray[np.float32]
    is_data: NDArray[np.bool_] = None  # type: ignore[assignment]  # an array after construction
    event_columns: Mapping[str, NDArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.is_data is None:
            object.__setattr__(self, "is_data", np.isnan(np.asarray(self.label, dtype=float)))
        for name, dtype in _DTYPES.items():
            object.__setattr__(self, name, _frozen(getattr(self, name), dtype))
        unknown = set(self.event_columns) - set(EVENT_COLUMNS)
        if unknown:
            raise ValueError(f"event columns are {EVENT_COLUMNS}, not {sorted(unknown)}")
        kept = {
            name: _frozen(self.event_columns[name]) for name in EVENT_COLUMNS if name in self.event_columns
        }
        object.__setattr__(self, "event_columns", MappingProxyType(kept))
        columns = {name: getattr(self, name) for name in _DTYPES} | kept
        wrong = {name: values.shape for name, values in columns.items() if values.shape != (len(self.key),)}
        if wrong:
            raise ValueError(f"columns of other shapes than the {len(self.key)} event keys: {wrong}")
        if not np.all((self.part == PARTS[0]) | (self.part == PARTS[1])):
            raise ValueError(
                f"a part is one of {PARTS}; found {sorted(set(self.part.tolist()) - set(PARTS))}"
            )

    def __len__(self) -> int:
        return len(self.key)

    @property
    def is_signal(self) -> NDArray[np.bool_]:
        """Rows of correctly paired signal."""
        return self.label == 1

    @property
    def is_background(self) -> NDArray[np.bool_]:
        """Rows of background."""
        return self.label == 0

    def select(self, rows: NDArray) -> Scores:
        """Rows by a boolean mask or by positions, order kept as given."""
        kept = {name: getattr(self, name)[rows] for name in _DTYPES}
        return Scores(**kept, event_columns={name: v[rows] for name, v in self.event_columns.items()})

    def save(self, path: Path | str) -> None:
        """Write a Parquet file (Zstandard), atomically."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = {}
        for name, column in _PARQUET_NAMES.items():
            values = getattr(self, name)
            table[column] = _dictionary(values) if _DTYPES[name] is np.str_ else pa.array(values)
        table |= {name: pa.array(values) for name, values in self.event_columns.items()}
        with atomic_path(path) as temporary:
            whole = pa.table(table).replace_schema_metadata({"format": FORMAT})
            pq.write_table(whole, temporary, compression="zstd")

    @classmethod
    def load(cls, path: Path | str) -> Scores:
        """Read what ``save`` wrote.

        Raises:
            InputError: If the file is absent, is not Parquet, or lacks a column.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file of scores") from None
        except pa.ArrowInvalid as error:
            raise InputError(f"{path}: not a Parquet file of scores: {error}") from None
        optional = {"is_data"}
        missing = [c for c in _PARQUET_NAMES.values() if c not in table.column_names and c not in optional]
        if missing:
            raise InputError(f"{path}: not a file of scores: it lacks the columns {missing}")
        values = {
            name: _to_numpy(table[column])
            for name, column in _PARQUET_NAMES.items()
            if column in table.column_names
        }
        kept = {name: _to_numpy(table[name]) for name in EVENT_COLUMNS if name in table.column_names}
        return cls(**values, event_columns=kept)


def join_scores(parts: Sequence[Scores]) -> Scores:
    """Rows of all parts, in order, with the event columns that all of them have.

    Raises:
        ValueError: If there are no parts.
    """
    if not parts:
        raise ValueError("no scores to join")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _DTYPES}
    common = [name for name in EVENT_COLUMNS if all(name in part.event_columns for part in parts)]
    return Scores(
        **columns,
        event_columns={name: np.concatenate([part.event_columns[name] for part in parts]) for name in common},
    )


def _frozen(values: NDArray, dtype: type | None = None) -> NDArray:
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def _dictionary(values: NDArray[np.str_]):  # type: ignore[no-untyped-def]  # pyarrow has no types
    import pyarrow as pa

    names, index = np.unique(values, return_inverse=True)
    return pa.DictionaryArray.from_arrays(
        pa.array(index.astype(np.int16)), pa.array(names.tolist(), pa.string())
    )


def _to_numpy(column) -> NDArray:  # type: ignore[no-untyped-def]  # pyarrow has no types
    import pyarrow as pa

    array = column.combine_chunks()
    if pa.types.is_string(array.type):
        array = array.dictionary_encode()
    if isinstance(array, pa.DictionaryArray):
        names = np.array(array.dictionary.to_pylist() or [""], dtype=np.str_)
        return names[array.indices.to_numpy()]
    return array.to_numpy(zero_copy_only=False)


assert {f.name for f in fields(Scores)} == {*_DTYPES, "event_columns"}

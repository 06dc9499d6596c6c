"""Events: immutable columns of candidates, with what every later stage needs to know of them."""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from darksieve.atomic import atomic_path
from darksieve.errors import InputError


class Role(StrEnum):
    """What a sample is for."""

    SIGNAL = "signal"
    BACKGROUND = "background"
    DATA = "data"
    CONTROL = "control"  # is scored and compared; never trains, chooses or enters a limit


@dataclass(frozen=True)
class SampleInfo:
    """What one sample is.

    Attributes:
        name: Its name.
        role: What it is for.
        process: What tables and pictures call it, which several samples may share; by default its name.
        period: Data-taking period, None where there is only one.
    """

    name: str
    role: Role
    process: str = ""
    period: str | None = None

    def __post_init__(self) -> None:
        if not self.process:
            object.__setattr__(self, "process", self.name)


def map_of(values: NDArray) -> mmap.mmap | None:
    """The read-only map of a file that an array shows, None for an array in memory."""
    base = values.base
    mapping = base.obj if isinstance(base, memoryview) else None
    return mapping if isinstance(mapping, mmap.mmap) and not values.flags.writeable else None


def _frozen(values: NDArray, dtype: type | None = None) -> NDArray:
    if (
        isinstance(values, np.ndarray)
        and not values.flags.writeable
        and (values.base is None or map_of(values) is not None)
        and (dtype is None or values.dtype == dtype)
    ):
        return values  # nobody else can write to it
    array = np.array(values, dtype=dtype)  # a copy: inputs are never made read-only behind the caller's back
    array.flags.writeable = False
    return array


FORMAT = "darksieve-events/1"
_PARQUET_NAMES = {
    "sample_index": "@sample",
    "weight": "@weight",
    "mass": "@mass",
    "key": "@key",
    "candidate": "@candidate",
}


@dataclass(frozen=True, eq=False)
class Events:
    """Candidates of one or several samples, one row per candidate.

    Attributes:
        columns: Branch or derived column name -> values, each of shape (n,), read-only.
        samples: The samples that the rows come from.
        sample_index: Position in ``samples`` of each row, shape (n,), int16.
        weight: Background: expected data events at the search's luminosity per row. Signal: 1 over the
            number generated per GeV (flat sample) or at that mass (discrete sample), so that weights
            summed over a mass bin and divided by its width, or over one mass, give the absolute
            efficiency. Data: 1. Shape (n,).
        mass: Generated mass in GeV, NaN where there is none, shape (n,).
        key: 64-bit hash of the event key; rows of one physical event share it, shape (n,), uint64.
        candidate: ``__candidate__`` of the row within its event, shape (n,), int32.

    Raises:
        ValueError: If lengths differ, or an index points outside ``samples``.
    """

    columns: Mapping[str, NDArray]
    samples: tuple[SampleInfo, ...]
    sample_index: NDArray[np.int16]
    weight: NDArray[np.float64]
    mass: NDArray[np.float64]
    key: NDArray[np.uint64]
    candidate: NDArray[np.int32]

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "sample_index", _frozen(self.sample_index, np.int16))
        set_field(self, "weight", _frozen(self.weight, np.float64))
        set_field(self, "mass", _frozen(self.mass, np.float64))
        set_field(self, "key", _frozen(self.key, np.uint64))
        set_field(self, "candidate", _frozen(self.candidate, np.int32))
        set_field(self, "columns", MappingProxyType({name: _frozen(v) for name, v in self.columns.items()}))
        n = len(self.key)
        lengths = {name: len(v) for name, v in self.columns.items()} | {
            "sample_index": len(self.sample_index),
            "weight": len(self.weight),
            "mass": len(self.mass),
            "candidate": len(self.candidate),
        }
        wrong = {name: length for name, length in lengths.items() if length != n}
        if wrong:
            raise ValueError(f"columns of other lengths than the {n} event keys: {wrong}")
        if n and (self.sample_index.min() < 0 or self.sample_index.max() >= len(self.samples)):
            raise ValueError(f"sample_index points outside the {len(self.samples)} samples")

    def __reduce__(self) -> tuple[type[Events], tuple[object, ...]]:
        """Sent to other processes as its fields; a read-only mapping cannot be."""
        rest = (self.samples, self.sample_index, self.weight, self.mass, self.key, self.candidate)
        return Events, (dict(self.columns), *rest)

    def __len__(self) -> int:
        return len(self.key)

    def __getitem__(self, name: str) -> NDArray:
        try:
            return self.columns[name]
        except KeyError:
            raise KeyError(f"events have no column {name!r}; they have {sorted(self.columns)}") from None

    def _has_role(self, role: Role) -> NDArray[np.bool_]:
        of_sample = np.array([sample.role is role for sample in self.samples], dtype=bool)
        return of_sample[self.sample_index] if len(self) else np.zeros(0, dtype=bool)

    @property
    def is_signal(self) -> NDArray[np.bool_]:
        return self._has_role(Role.SIGNAL)

    @property
    def is_background(self) -> NDArray[np.bool_]:
        return self._has_role(Role.BACKGROUND)

    @property
    def is_data(self) -> NDArray[np.bool_]:
        return self._has_role(Role.DATA)

    @property
    def label(self) -> NDArray[np.float32]:
        """What a classifier learns, shape (n,): 1 for signal, 0 for background, NaN for neither.

        Neither are data, control samples, and pairings of signal photons that are not the true one (column
        ``is_true_pair``).
        """
        label = np.full(len(self), np.nan, dtype=np.float32)
        label[self.is_background] = 0
        right = self.columns.get("is_true_pair")
        label[self.is_signal if right is None else self.is_signal & right.astype(bool)] = 1
        return label

    @property
    def sample(self) -> NDArray[np.str_]:
        """Sample name of each row, shape (n,)."""
        return np.array([sample.name for sample in self.samples] or [""])[self.sample_index]

    @property
    def process(self) -> NDArray[np.str_]:
        """Process of each row, shape (n,)."""
        return np.array([sample.process for sample in self.samples] or [""])[self.sample_index]

    def in_period(self, name: str) -> NDArray[np.bool_]:
        """Rows of one data-taking period, shape (n,)."""
        inside = np.array([sample.period == name for sample in self.samples], dtype=bool)
        return inside[self.sample_index] if len(self) else np.zeros(0, dtype=bool)

    def from_sample(self, name: str) -> Events:
        """The rows of one sample."""
        wanted = [i for i, sample in enumerate(self.samples) if sample.name == name]
        if not wanted:
            raise KeyError(f"no sample {name!r}; there are {[s.name for s in self.samples]}")
        return self.select(np.isin(self.sample_index, wanted))

    def select(self, rows: NDArray) -> Events:
        """Rows by a boolean mask or by positions, order kept as given."""
        return replace(
            self,
            columns={name: values[rows] for name, values in self.columns.items()},
            sample_index=self.sample_index[rows],
            weight=self.weight[rows],
            mass=self.mass[rows],
            key=self.key[rows],
            candidate=self.candidate[rows],
        )

    def with_columns(self, **columns: NDArray) -> Events:
        """The same rows with columns added or replaced."""
        return replace(self, columns={**self.columns, **columns})

    def with_only(self, names: Iterable[str]) -> Events:
        """The same rows with those of the named columns that there are."""
        wanted = set(names)
        return replace(self, columns={name: v for name, v in self.columns.items() if name in wanted})

    def with_weight(self, weight: NDArray) -> Events:
        """The same rows with other weights."""
        return replace(self, weight=weight)

    def matrix(self, features: Sequence[str]) -> NDArray[np.float32]:
        """Feature matrix of shape (n, n_features), float32; non-finite values stay as they are."""
        out = np.empty((len(features), len(self)), dtype=np.float32)
        for row, name in zip(out, features, strict=True):
            row[:] = self[name]
        return out.T  # F-ordered on purpose: columns are contiguous

    def save(self, path: str | Path) -> None:
        """Write a Parquet file (Zstandard), atomically.

        Raises:
            ValueError: If a column has the name of one that the file keeps for itself.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        own = {column: getattr(self, name) for name, column in _PARQUET_NAMES.items()}
        taken = sorted(set(own) & set(self.columns))
        if taken:
            raise ValueError(f"columns {taken} cannot be saved: the names are taken")
        samples = json.dumps([[s.name, s.role.value, s.process, s.period] for s in self.samples])
        table = pa.table({name: pa.array(values) for name, values in (own | dict(self.columns)).items()})
        with atomic_path(path) as temporary:
            named = table.replace_schema_metadata({"format": FORMAT, "samples": samples})
            pq.write_table(named, temporary, compression="zstd")

    @classmethod
    def load(cls, path: str | Path) -> Events:
        """Read what ``save`` wrote.

        Raises:
            InputError: If the file is absent, damaged, or no file of events.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
        except FileNotFoundError:
            raise InputError(f"there is no file {str(path)!r}") from None
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is not a Parquet file of events: {error}") from None
        metadata = table.schema.metadata or {}
        if metadata.get(b"format") != FORMAT.encode():
            raise InputError(f"{path} is not a file of events: its format is {metadata.get(b'format')!r}")
        values = {
            name: table[name].combine_chunks().to_numpy(zero_copy_only=False) for name in table.column_names
        }
        own = {name: values.pop(column) for name, column in _PARQUET_NAMES.items()}
        samples = tuple(
            SampleInfo(name, Role(role), *more) for name, role, *more in json.loads(metadata[b"samples"])
        )
        return cls(columns=values, samples=samples, **own)

    def digest(self, rows: NDArray | None = None) -> str:
        """SHA-256 over every column, name, weight and key.

        Args:
            rows: As of :meth:`select`, whose events have the same digest; one column at a time is copied.
        """
        sha = hashlib.sha256()
        for sample in self.samples:
            sha.update(f"{sample.name}:{sample.role}:{sample.process}:{sample.period}".encode())
        own = (self.sample_index, self.weight, self.mass, self.key, self.candidate)
        for name, values in [*sorted(self.columns.items()), *(("", values) for values in own)]:
            sha.update(name.encode())
            sha.update(np.ascontiguousarray(values if rows is None else values[rows]).data)
        return sha.hexdigest()


def merge_samples(known: list[SampleInfo], more: Iterable[SampleInfo]) -> NDArray[np.int16]:
    """Positions in ``known``, which grows, of the samples of another part, shape (n_samples,).

    Raises:
        ValueError: If one name has two roles, processes or periods.
    """
    positions = []
    for sample in more:
        if sample not in known:
            if any(sample.name == other.name for other in known):
                raise ValueError(f"sample {sample.name!r} appears with two roles, processes or periods")
            known.append(sample)
        positions.append(known.index(sample))
    return np.array(positions, dtype=np.int16)


def concatenate(parts: Iterable[Events]) -> Events:
    """Rows of all parts, in order; samples that are the same are one sample.

    Raises:
        ValueError: If there are no parts, their columns differ, or one name has two roles (or processes, or
            periods).
    """
    parts = list(parts)
    if not parts:
        raise ValueError("nothing to concatenate")
    names = set(parts[0].columns)
    for part in parts[1:]:
        if set(part.columns) != names:
            raise ValueError(f"columns differ between parts: {sorted(names ^ set(part.columns))}")
    samples: list[SampleInfo] = []
    indices = []
    for part in parts:
        indices.append(merge_samples(samples, part.samples)[part.sample_index])
    return Events(
        columns={name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
        samples=tuple(samples),
        sample_index=np.concatenate(indices),
        weight=np.concatenate([part.weight for part in parts]),
        mass=np.concatenate([part.mass for part in parts]),
        key=np.concatenate([part.key for part in parts]),
        candidate=np.concatenate([part.candidate for part in parts]),
    )

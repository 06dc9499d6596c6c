"""The candidates of the channels with their scores: what working points, shapes and limits are made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darksieve.atomic import atomic_path
from darksieve.datasets.corrections import BINS
from darksieve.datasets.events import Events

NO_SCORE = np.float32(0.5)  # what every candidate has where there is no classifier
_SCORE_OF = "score_of_"
_VARIABLE = "variable_"
_FAMILY = "family_"
_DTYPES = {
    "sample": np.int16,
    "channel": np.int16,
    "label": np.float32,
    "weight": np.float64,
    "mass": np.float64,
    "key": np.uint64,
    "observable": np.float64,
    "score": np.float32,
}


@dataclass(frozen=True, eq=False)
class CandidateTable:
    """One row per candidate and channel that it passes; simulation only, or data only.

    Attributes:
        sample_names: Names that ``sample`` points into.
        channel_names: Names that ``channel`` points into.
        sample: Sample of each row, shape (n,).
        channel: Channel of each row, shape (n,).
        label: 1 signal, 0 background, NaN for wrong pairings of signal and for data, shape (n,).
        weight: Background: expected events; signal: see ``Events``; data: 1. Shape (n,).
        mass: Generated mass in GeV, NaN where there is none, shape (n,).
        key: Hash of the event key, shape (n,).
        observable: The channel's observable, shape (n,).
        score: Score of the last classifier of the row's channel, constant 0.5 without one, shape (n,).
        scores: Classifier -> its scores, NaN in channels that it is not for, shape (n,) each.
        bins: Columns of the bins that corrections of the weight used, shape (n,) each.
        variables: Variables for rectangular cuts and the preselection, shape (n,) each.
        families: Branches that tell the peaks of a sample apart, NaN in other samples, shape (n,) each.
    """

    sample_names: tuple[str, ...]
    channel_names: tuple[str, ...]
    sample: NDArray[np.int16]
    channel: NDArray[np.int16]
    label: NDArray[np.float32]
    weight: NDArray[np.float64]
    mass: NDArray[np.float64]
    key: NDArray[np.uint64]
    observable: NDArray[np.float64]
    score: NDArray[np.float32]
    scores: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    bins: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)
    variables: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    families: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.key)

    @property
    def columns(self) -> dict[str, NDArray[np.float32]]:
        """Scores and variables by name: all that a candidate is cut on."""
        return {**self.variables, **self.scores}

    @property
    def is_signal(self) -> NDArray[np.bool_]:
        """Rows of correctly paired signal."""
        return self.label == 1

    @property
    def is_background(self) -> NDArray[np.bool_]:
        """Rows of simulated background."""
        return self.label == 0

    def select(self, rows: NDArray) -> CandidateTable:
        """Rows by a mask or by positions."""
        columns = {name: getattr(self, name)[rows] for name in _DTYPES}
        scores = {name: values[rows] for name, values in self.scores.items()}
        bins = {name: values[rows] for name, values in self.bins.items()}
        variables = {name: values[rows] for name, values in self.variables.items()}
        families = {name: values[rows] for name, values in self.families.items()}
        return CandidateTable(
            self.sample_names, self.channel_names, **columns,
            scores=scores, bins=bins, variables=variables, families=families,
        )  # fmt: skip

    def with_weight(self, weight: NDArray[np.float64]) -> CandidateTable:
        """The same candidates with other weights, shape (n,)."""
        return replace(self, weight=weight)

    def of_channel(self, name: str) -> CandidateTable:
        """The rows of one channel."""
        return self.select(self.channel == self.channel_names.index(name))

    def in_samples(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Mask of the rows of some samples."""
        wanted = [i for i, name in enumerate(self.sample_names) if name in set(names)]
        return np.isin(self.sample, wanted)

    def save(self, path: str | Path) -> None:
        """Write Parquet, atomically."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = {"samples": "\n".join(self.sample_names), "channels": "\n".join(self.channel_names)}
        own = {name: getattr(self, name) for name in _DTYPES}
        own |= {f"{_SCORE_OF}{name}": values for name, values in self.scores.items()} | dict(self.bins)
        own |= {f"{_VARIABLE}{name}": values for name, values in self.variables.items()}
        own |= {f"{_FAMILY}{name}": values for name, values in self.families.items()}
        table = pa.table(own).replace_schema_metadata(names)
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    @classmethod
    def load(cls, path: str | Path) -> CandidateTable:
        """Read what ``save`` wrote."""
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        names = {key: tuple(value.decode().split("\n")) for key, value in table.schema.metadata.items()}
        columns = {
            name: table[name].combine_chunks().to_numpy(zero_copy_only=False).astype(dtype, copy=False)
            for name, dtype in _DTYPES.items()
        }

        def of(prefix: str) -> dict[str, NDArray]:
            return {
                name: table[name].combine_chunks().to_numpy(zero_copy_only=False)
                for name in table.column_names
                if name.startswith(prefix)
            }

        scores = {name.removeprefix(_SCORE_OF): values for name, values in of(_SCORE_OF).items()}
        variables = {name.removeprefix(_VARIABLE): values for name, values in of(_VARIABLE).items()}
        families = {name.removeprefix(_FAMILY): values for name, values in of(_FAMILY).items()}
        return cls(
            names[b"samples"], names[b"channels"], **columns,
            scores=scores, bins=of(BINS), variables=variables, families=families,
        )  # fmt: skip


assert {f.name for f in fields(CandidateTable)} == {
    *_DTYPES,
    "sample_names",
    "channel_names",
    "scores",
    "bins",
    "variables",
    "families",
}


def labels_of(events: Events) -> NDArray[np.float32]:
    """1 for correctly paired signal, 0 for background, NaN for wrong pairings of signal and for data."""
    labels = np.full(len(events), np.nan, np.float32)
    labels[events.is_background] = 0
    true_pair = events.columns.get("is_true_pair")
    labels[events.is_signal if true_pair is None else events.is_signal & true_pair.astype(bool)] = 1
    return labels


def table_of_channel(
    events: Events,
    rows: NDArray[np.bool_],
    scores: Mapping[str, NDArray[np.float32]],
    *,
    channel: int,
    channel_names: tuple[str, ...],
    observable: str,
    variables: Sequence[str] = (),
    families: Sequence[str] = (),
) -> CandidateTable:
    """The rows of one channel as a table.

    Args:
        events: Candidates, n of them.
        rows: Which of them the channel selects, shape (n,).
        scores: Classifier of this channel -> their scores, in order, shape (n,) each.
        channel: Position of the channel in ``channel_names``.
        channel_names: All channels.
        observable: Column that this channel scans.
        variables: Columns that are kept beside the scores.
        families: Columns that tell the peaks of a sample apart, NaN where the events have none.
    """
    score = list(scores.values())[-1][rows] if scores else np.full(int(rows.sum()), NO_SCORE)
    return CandidateTable(
        sample_names=tuple(sample.name for sample in events.samples),
        channel_names=channel_names,
        sample=events.sample_index[rows],
        channel=np.full(int(rows.sum()), channel, np.int16),
        label=labels_of(events)[rows],
        weight=events.weight[rows],
        mass=events.mass[rows],
        key=events.key[rows],
        observable=events[observable][rows].astype(np.float64),
        score=score,
        scores={name: values[rows] for name, values in scores.items()},
        bins={name: of[rows] for name, of in events.columns.items() if name.startswith(BINS)},
        variables={name: events[name][rows].astype(np.float32) for name in variables},
        families={
            name: events[name][rows].astype(np.float64)
            if name in events.columns
            else np.full(int(rows.sum()), np.nan)
            for name in families
        },
    )


def join(parts: Iterable[CandidateTable]) -> CandidateTable:
    """Rows of all parts, which have the same samples and channels; scores that a part lacks are NaN there."""
    parts = list(parts)
    names = dict.fromkeys(name for part in parts for name in part.scores)
    scores = {
        name: np.concatenate(
            [part.scores.get(name, np.full(len(part), np.nan, np.float32)) for part in parts]
        )
        for name in names
    }
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _DTYPES}
    bins = {name: np.concatenate([part.bins[name] for part in parts]) for name in parts[0].bins}
    kept = {name: np.concatenate([part.variables[name] for part in parts]) for name in parts[0].variables}
    families = {name: np.concatenate([part.families[name] for part in parts]) for name in parts[0].families}
    return CandidateTable(
        parts[0].sample_names,
        parts[0].channel_names,
        **columns,
        scores=scores,
        bins=bins,
        variables=kept,
        families=families,
    )

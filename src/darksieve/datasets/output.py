"""Output: rows into ROOT files (TTree or RNTuple) and Parquet files, chunk by chunk; whole files or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from numpy.typing import NDArray

from darksieve.atomic import atomic_path
from darksieve.datasets.events import Events, SampleInfo, merge_samples
from darksieve.datasets.folds import fold_of, in_choose_part
from darksieve.datasets.lists import Lists
from darksieve.datasets.names import root_name
from darksieve.datasets.tree_info import Format
from darksieve.errors import InputError, nearest

Columns = Mapping[str, NDArray | Lists]

ABOUT = "darksieve"  # name of the text beside the rows: a TObjString, or Parquet's metadata
EVENTS_FORMAT = "darksieve-rows/1"
_SUFFIXES = {".root": (Format.TTREE, Format.RNTUPLE), ".parquet": (Format.PARQUET,)}


def format_of(path: str | Path, asked: str | None = None) -> Format:
    """How a file's rows are kept: by its suffix, a ROOT file's as a TTree unless an RNTuple is asked for.

    Args:
        asked: ``ttree``, ``rntuple`` or ``parquet``; None for the suffix's own.

    Raises:
        InputError: If the suffix is neither .root nor .parquet, or is not that of the format asked for.
    """
    suffix = Path(path).suffix
    if suffix not in _SUFFIXES:
        raise InputError(f"{path}: rows are written to .root or .parquet files, not to {suffix or 'none'!r}")
    if asked is None:
        return _SUFFIXES[suffix][0]
    known = {kind.value.lower(): kind for kind in Format}
    if asked.lower() not in known:
        raise InputError(f"format {asked!r} is not known; there are {sorted(known)}{nearest(asked, known)}")
    kind = known[asked.lower()]
    if kind not in _SUFFIXES[suffix]:
        right = next(own for own, kinds in _SUFFIXES.items() if kind in kinds)
        raise InputError(f"{path}: a file of format {asked} is named {right}")
    return kind


class _Sink(Protocol):
    def begin(self, columns: Columns) -> None: ...
    def extend(self, columns: Columns) -> None: ...
    def describe(self, about: str) -> None: ...


class _InRootFile:
    def __init__(self, file: Any, tree: str) -> None:
        self.file = file
        self.tree = tree

    def describe(self, about: str) -> None:
        self.file[ABOUT] = about


class _TTree(_InRootFile):
    """By ``mktree``: where columns are just assigned, uproot writes an RNTuple, which older ROOT lacks."""

    def __init__(self, file: Any, tree: str, counters: Mapping[str, str]) -> None:
        super().__init__(file, tree)
        self.counters = counters

    def begin(self, columns: Columns) -> None:
        own = {name for name, values in columns.items() if not isinstance(values, Lists)}
        counters = {}
        for name in columns.keys() - own:
            # uproot writes the lengths of lists itself, as the branch that ROOT calls their counter
            counters[name] = self.counters.get(name, f"n{name}")
            while name not in self.counters and counters[name] in own:
                counters[name] += "_"
        self.skipped = own & set(counters.values())
        types = {name: _awkward_type(v) for name, v in columns.items() if name not in self.skipped}
        self.file.mktree(self.tree, types, counter_name=lambda name: counters.get(name, f"n{name}"))

    def extend(self, columns: Columns) -> None:
        kept = {name: _as_awkward(v) for name, v in columns.items() if name not in self.skipped}
        self.file[self.tree].extend(kept)


class _RNTuple(_InRootFile):
    def begin(self, columns: Columns) -> None:
        types = {name: _awkward_type(values) for name, values in columns.items()}
        self.written = self.file.mkrntuple(self.tree, types)

    def extend(self, columns: Columns) -> None:
        if len(next(iter(columns.values()))):  # a cluster without rows cannot be written
            self.written.extend({name: _as_awkward(values) for name, values in columns.items()})


class _Parquet:
    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self.stack = stack

    def begin(self, columns: Columns) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.schema = pa.schema([pa.field(n, _arrow(v).type, nullable=False) for n, v in columns.items()])
        writer = pq.ParquetWriter(self.path, self.schema, compression="zstd", write_page_checksum=True)
        self.written = self.stack.enter_context(writer)

    def extend(self, columns: Columns) -> None:
        import pyarrow as pa

        self.written.write_table(pa.table([_arrow(v) for v in columns.values()], schema=self.schema))

    def describe(self, about: str) -> None:
        self.written.add_key_value_metadata({ABOUT: about})


def _awkward_type(values: NDArray | Lists) -> Any:
    return f"var * {values.dtype.name}" if isinstance(values, Lists) else values.dtype


def _as_awkward(values: NDArray | Lists) -> Any:
    import awkward as ak

    if not isinstance(values, Lists):
        return values
    offsets = ak.index.Index64(values.offsets)
    return ak.Array(ak.contents.ListOffsetArray(offsets, ak.contents.NumpyArray(values.values)))


def _arrow(values: Any) -> Any:
    import pyarrow as pa

    if not isinstance(values, Lists):
        return pa.array(values)
    return pa.LargeListArray.from_arrays(pa.array(values.offsets), pa.array(values.values))


class RowWriter:
    """Writes rows to one file; the file is there, whole, when the block ends without an error.

    ::

        with RowWriter("scored.root") as writer:
            for columns in chunks:
                writer.write(columns)

    Args:
        path: A .root or .parquet file.
        format: ``ttree``, ``rntuple`` or ``parquet``; None for that of the suffix, a TTree for .root.
        tree: Name of the TTree or RNTuple.
        counters: Branch of lists -> the branch of a TTree that holds their lengths, where it has a name.
        about: A text to keep beside the rows; may be changed until the end.
        overwrite: Replace a file that is there.

    Attributes:
        n_rows: Rows written so far.

    Raises:
        InputError: If the file is there already, or the format is not that of its suffix.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        format: str | None = None,  # noqa: A002  # the word of the command line
        tree: str = "ntuple",
        counters: Mapping[str, str] | None = None,
        about: str = "",
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.format = format_of(path, format)
        self.tree = tree
        self.counters = counters or {}
        self.about = about
        self.n_rows = 0
        self._stack = ExitStack()
        self._types: dict[str, Any] | None = None
        if not overwrite:
            refuse_to_replace(self.path)

    def __enter__(self) -> Self:
        import uproot

        temporary = self._stack.enter_context(atomic_path(self.path))
        self._sink: _Sink
        if self.format is Format.PARQUET:
            self._sink = _Parquet(temporary, self._stack)
            return self
        # ZSTD-1: half the size of LZ4 on ntuples, and several times faster to write than higher levels
        file = self._stack.enter_context(uproot.recreate(temporary, compression=uproot.ZSTD(1)))
        is_tree = self.format is Format.TTREE
        self._sink = _TTree(file, self.tree, self.counters) if is_tree else _RNTuple(file, self.tree)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None and self._types is None:
            missing = InputError(f"{self.path}: there are no rows, and no columns, to write")
            self._stack.__exit__(InputError, missing, None)
            raise missing
        if error is None and self.about:
            self._sink.describe(self.about)
        self._stack.__exit__(kind, error, traceback)

    def write(self, columns: Columns) -> None:
        """Append rows; the first call says which columns there are.

        Raises:
            ValueError: If columns differ in length, or from those of the first call.
        """
        types = {name: _awkward_type(values) for name, values in columns.items()}
        lengths = {len(values) for values in columns.values()}
        if len(lengths) != 1:
            raise ValueError(f"columns have {sorted(lengths)} rows: they all have as many, and there is one")
        if self._types is None:
            self._sink.begin(columns)
            self._types = types
        if types != self._types:
            changed = sorted({name for name, _ in types.items() ^ self._types.items()})
            raise ValueError(f"columns {changed} are not those, or not of the types, of the rows before")
        self._sink.extend({name: columns[name] for name in self._types})
        self.n_rows += lengths.pop()


def refuse_to_replace(path: Path) -> None:
    """Raise an InputError if something is where a file is to be written."""
    if path.exists():
        raise InputError(f"{path} is there already; remove it, give another name, or say --overwrite")


def write_events(
    events: Events | Iterable[Events],
    path: str | Path,
    *,
    format: str | None = None,  # noqa: A002
    tree: str = "ntuple",
    n_folds: int | None = None,
    fold_salt: int = 0,
    part_salt: int = 0,
    added: Callable[[Events], Mapping[str, NDArray]] | None = None,
    overwrite: bool = False,
) -> int:
    """Write events, or a stream of them, with all that is known of each row.

    Beside the events' own columns, of basf2's key where they have them, each row has ``__candidate__``,
    ``event_key`` (its hash), ``sample`` (position in the list of names that is kept beside the rows),
    ``label``, ``weight``, ``mass`` (generated, NaN where there is none), ``chooses`` (whether it may choose
    working points; the others quote) and, with ``n_folds``, ``fold``. In ROOT files the names are ROOT's:
    ``KSFWVariables__bohso00__bc``.

    Args:
        path: A .root or .parquet file.
        format, tree, overwrite: As of :class:`RowWriter`.
        n_folds, fold_salt: Of the folds.
        part_salt: Of the halves that choose and quote.
        added: More columns of some events, shape (n,) each: ``lambda e: {"trees_score": bundle.score(e)}``.

    Returns:
        The number of rows.

    Raises:
        InputError: As :class:`RowWriter`, and if a column has the name of one that is added.
    """
    in_root = format_of(path, format) is not Format.PARQUET
    samples: list[SampleInfo] = []
    with RowWriter(path, format=format, tree=tree, overwrite=overwrite) as writer:
        for part in [events] if isinstance(events, Events) else events:
            own: dict[str, NDArray] = {
                "event_key": part.key,
                "sample": merge_samples(samples, part.samples)[part.sample_index],
                "label": part.label,
                "weight": part.weight,
                "mass": part.mass,
                "chooses": in_choose_part(part.key, part_salt),
            }
            if n_folds is not None:
                own["fold"] = fold_of(part.key, n_folds, fold_salt)
            own |= dict(added(part)) if added is not None else {}
            taken = sorted(set(own) & set(part.columns))
            if taken:
                raise InputError(f"{path}: columns {taken} have names of what is written of each row")
            columns = {"__candidate__": part.candidate} | dict(part.columns) | own
            writer.write({root_name(name) if in_root else name: v for name, v in columns.items()})
        writer.about = json.dumps(
            {"format": EVENTS_FORMAT, "samples": [asdict(sample) for sample in samples]}
        )
    return writer.n_rows

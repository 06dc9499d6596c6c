"""Reading through a cache: what a SampleReader makes of a sample, kept as Parquet and read back in chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from darksieve.atomic import sha256_of_json
from darksieve.datasets.cache import (
    FORMAT,
    Cache,
    DamagedEntryError,
    Entry,
    Making,
    code_identity,
    file_identity,
)
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.cut_flow import Cut, CutFlow
from darksieve.datasets.duplicates import DuplicateSearch, marks_of
from darksieve.datasets.events import Events, Role
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import SampleReader
from darksieve.datasets.weights import PolicyEffect

_FILE = "events.parquet"
_OWN = {"weight": "@weight", "mass": "@mass", "key": "@key", "candidate": "@candidate"}
_PACKAGES = ("numpy", "numba", "uproot", "pyarrow")
# what does not change what is kept: names, places, and what only says how much is in memory at once
_NOT_OF_SAMPLE = ("name", "files", "folder", "process", "period")
_NOT_OF_BACKGROUND = ("luminosity_fb", "cross_section_fb", "n_generated")
_NOT_OF_RECIPE = ("chunk_rows", "chunk_bytes", "may_be_empty", "duplicates")


def events_key(reader: SampleReader) -> str:
    """Key of what a reader makes: its files' content, the sample's and the recipe's settings, and the code.

    The names of sample and files, the size of chunks and, for background, the search's luminosity are no
    part of it; the luminosity that the sample amounts to is.
    """
    sample, recipe = reader.sample, reader.recipe
    left_out = (*_NOT_OF_SAMPLE, *(_NOT_OF_BACKGROUND if sample.role is Role.BACKGROUND else ()))
    not_of_recipe = (*_NOT_OF_RECIPE, *(("luminosity_fb",) if sample.role is Role.SIGNAL else ()))
    return sha256_of_json(
        {
            "format": FORMAT,
            "kind": "events",
            "code": code_identity([Path(__file__).parent], _PACKAGES),
            "files": [file_identity(path) for path in sample.files],
            "trees": [tree.tree for tree in reader.files.trees],
            "sample": _settings(sample, left_out),
            "equivalent_luminosity_fb": sample.equivalent_luminosity_fb,
            "recipe": _settings(recipe, not_of_recipe),
            "types": {name: str(dtype) for name, dtype in reader.files.types.items()},
        }
    )


def _settings(part: Sample | ReadRecipe, left_out: tuple[str, ...]) -> dict[str, str]:
    # repr of dataclasses, numbers and texts says all of them; a new field is a part of the key by itself
    return {f.name: repr(getattr(part, f.name)) for f in fields(part) if f.name not in left_out}


class CachedReader:
    """A SampleReader whose candidates come from a cache where they have been read before.

    Background is kept at 1/fb and weighted to the recipe's luminosity on the way out, so that another
    luminosity needs no other entry; the numbers are the same, to the last bit, with and without a cache.

    Args:
        sample: The sample.
        recipe: What is read from it.
        cache: Where it is kept; None to read the files each time.
        needed_by: Who needs the columns, for messages.

    Raises:
        InputError: As :class:`SampleReader`, whose checks are made whether there is an entry or not.
    """

    def __init__(self, sample: Sample, recipe: ReadRecipe, cache: Cache | None, needed_by: str = "") -> None:
        is_background = sample.role is Role.BACKGROUND
        self.luminosity_fb = recipe.luminosity_fb if is_background else 1.0
        self.reader = SampleReader(
            sample, replace(recipe, luminosity_fb=1.0) if is_background else recipe, needed_by
        )
        self.sample = sample
        self.cache = cache
        self._flow: CutFlow | None = None
        self._effect: PolicyEffect | None = None

    @property
    def cut_flow(self) -> CutFlow:
        """Rows left by each step of the last pass; of the pass that made the entry, where there is one."""
        return self.reader.cut_flow if self._flow is None else self._flow

    @property
    def policy_effect(self) -> PolicyEffect:
        """What the policy for negative weights did in the last pass, at the recipe's luminosity."""
        effect = self.reader.policy_effect if self._effect is None else self._effect
        return effect.scaled(self.luminosity_fb)

    def chunks(self) -> Iterator[Events]:
        """The sample in parts, in bounded memory, from the cache or from the files.

        Raises:
            InputError: As :meth:`SampleReader.chunks`.
        """
        n_given = 0
        if self.cache is not None:
            key = events_key(self.reader)
            entry = self.cache.open(key)
            if entry is not None:
                with entry:
                    search = DuplicateSearch() if self._is_to_be_searched(entry) else None
                    try:
                        for events in self._stored(entry):
                            n_given += len(events)
                            if search is not None:
                                search.add(marks_of(events.key, events.candidate))
                            yield self._weighted(events)
                        if search is not None:
                            self.reader.refuse_repeated(search)
                        return
                    except DamagedEntryError as error:
                        self.cache.drop(key, str(error))
        self._flow = self._effect = None
        for events in self._made():
            n_seen = min(n_given, len(events))  # what a damaged entry gave is not given twice
            n_given -= n_seen
            if n_seen < len(events):
                yield self._weighted(events.select(np.arange(n_seen, len(events))) if n_seen else events)

    def read(self, progress: Callable[[int], None] | None = None) -> Events:
        """The whole sample.

        Args:
            progress: Called with the number of entries read since the last call.

        Raises:
            InputError: As :meth:`SampleReader.read`.
        """
        self._flow = self._effect = None
        if self.cache is None or self.reader.recipe.whole_events:  # an entry would not keep events whole
            return self._weighted(self.reader.read(progress))
        key = events_key(self.reader)
        entry = self.cache.open(key)
        if entry is not None:
            with entry:
                try:
                    events = self._stored_whole(entry)
                    if progress is not None:
                        progress(self.cut_flow.cuts[0].n_before)
                    if self._is_to_be_searched(entry):
                        search = DuplicateSearch()
                        search.add(marks_of(events.key, events.candidate))
                        self.reader.refuse_repeated(search)
                    return self._weighted(events)
                except DamagedEntryError as error:
                    self.cache.drop(key, str(error))
            self._flow = self._effect = None
        events = self.reader.read(progress)  # finds duplicates, and says where they are
        writing = _Writing(self.cache, key, self._about())
        writing.write(events)
        writing.end(self._facts())
        return self._weighted(events)

    def _made(self) -> Iterator[Events]:
        if self.cache is None:
            yield from self.reader.chunks()
            return
        writing = _Writing(self.cache, events_key(self.reader), self._about())
        try:
            for events in self.reader.chunks():
                writing.write(events)
                yield events
            writing.end(self._facts())
        finally:
            writing.abandon()

    def _is_to_be_searched(self, entry: Entry) -> bool:
        """Whether rows that are there twice are refused, and were not when the entry was made."""
        return self.reader.recipe.duplicates == "error" and not entry.info.facts["searched"]

    def _facts(self) -> dict[str, Any]:
        cuts = [[cut.name, cut.n_before, cut.n_after] for cut in self.reader.cut_flow.cuts]
        searched = self.reader.recipe.duplicates == "error"
        effect = self.reader.policy_effect.to_json()
        return {"cut_flow": cuts, "searched": searched, "policy_effect": effect}

    def _about(self) -> str:
        n_more = len(self.sample.files) - 1
        return f"{self.sample.name}: {self.sample.files[0]}" + (f" and {n_more} more" if n_more else "")

    def _weighted(self, events: Events) -> Events:
        if self.luminosity_fb == 1.0:
            return events
        return events.with_weight(events.weight * self.luminosity_fb)

    def _open(self, entry: Entry) -> pq.ParquetFile:
        facts = entry.info.facts
        path = entry.folder / _FILE
        try:
            if _footer_digest(path) != facts["footer"]:
                raise DamagedEntryError("the footer of its file was altered")
            file = pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise DamagedEntryError(str(error)) from None
        self._effect = PolicyEffect.from_json(facts["policy_effect"])
        self._flow = CutFlow(self.sample.name, tuple(Cut(*cut) for cut in facts["cut_flow"]))
        return file

    def _stored(self, entry: Entry) -> Iterator[Events]:
        with self._open(entry) as file:
            for i in range(file.num_row_groups):
                values = {
                    name: array.to_numpy(zero_copy_only=False) for name, array in _group(file, i).items()
                }
                yield self._events(values)

    def _stored_whole(self, entry: Entry) -> Events:
        with self._open(entry) as file:
            n_rows = file.metadata.num_rows
            values = {
                field.name: np.empty(n_rows, field.type.to_pandas_dtype()) for field in file.schema_arrow
            }
            start = 0
            for i in range(file.num_row_groups):
                for name, array in _group(file, i).items():
                    values[name][start : start + len(array)] = array.to_numpy(zero_copy_only=False)
                start += file.metadata.row_group(i).num_rows
        return self._events(values)

    def _events(self, values: dict[str, NDArray]) -> Events:
        for array in values.values():
            if array.base is None:
                array.flags.writeable = False  # ours alone: Events need not copy it
        own = {name: values.pop(column) for name, column in _OWN.items()}
        return Events(
            columns=values,
            samples=(self.sample.info,),
            sample_index=np.zeros(len(own["key"]), dtype=np.int16),
            **own,
        )


def _group(file: pq.ParquetFile, i: int) -> dict[str, Any]:
    try:
        table = file.read_row_group(i)
        return {name: table[name].combine_chunks() for name in table.column_names}
    except (OSError, pa.ArrowException) as error:  # a page whose checksum is wrong
        raise DamagedEntryError(str(error)) from None


def _footer_digest(path: Path) -> str:
    """SHA-256 of a Parquet file's footer, which its page checksums do not cover."""
    with path.open("rb") as file:
        file.seek(-8, 2)
        tail = file.read(8)
        length = int.from_bytes(tail[:4], "little")
        file.seek(-8 - length, 2)
        return hashlib.sha256(file.read()).hexdigest()


class _Writing:
    """Writes Events into a new entry while it can; what goes wrong ends the writing, never the reading."""

    def __init__(self, cache: Cache, key: str, about: str) -> None:
        self._cache = cache
        self._making: Making | None = cache.begin(key, "events", about)
        self._writer: pq.ParquetWriter | None = None
        self._n_rows = 0

    def write(self, events: Events) -> None:
        """Add rows: row groups of at most 200 000 rows."""
        if self._making is None or not len(events):
            return
        own = {column: getattr(events, name) for name, column in _OWN.items()}
        if set(own) & set(events.columns):
            self.abandon()  # names that are taken
            return
        try:
            table = pa.table(own | dict(events.columns))
            if self._writer is None:
                self._writer = pq.ParquetWriter(
                    self._making.folder / _FILE,
                    table.schema,
                    compression="lz4",
                    use_dictionary=False,
                    write_statistics=False,
                    write_page_checksum=True,
                )
            self._writer.write_table(table, row_group_size=200_000)
            self._n_rows += len(events)
        except (OSError, pa.ArrowException) as error:
            self._cache.warn(error)
            self.abandon()
            return
        if self._making.is_too_large:
            self.abandon()

    def end(self, facts: dict[str, Any]) -> None:
        """Close the file and put the entry in its place; nothing is kept of an empty sample."""
        if self._making is None or self._writer is None:
            self.abandon()
            return
        try:
            self._writer.close()
            self._writer = None
            self._making.commit(
                facts | {"footer": _footer_digest(self._making.folder / _FILE), "n_rows": self._n_rows}
            )
            self._making = None
        except (OSError, pa.ArrowException) as error:
            self._cache.warn(error)
            self.abandon()

    def abandon(self) -> None:
        """Leave nothing behind."""
        if self._writer is not None:
            try:
                self._writer.close()
            except (OSError, pa.ArrowException) as error:  # the disk is full for its footer, too
                self._cache.warn(error)
            self._writer = None
        if self._making is not None:
            self._making.abandon()
            self._making = None

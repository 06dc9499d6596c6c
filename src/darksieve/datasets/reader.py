"""Reading: the files of a sample in, Events out, by chunks and with only the branches that are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.candidates import (
    FIT_CHI2_COLUMN,
    TRUE_PAIR_COLUMN,
    build_candidates,
    photon_momenta,
)
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.cut_flow import CutCounter, CutFlow
from darksieve.datasets.duplicates import refuse_duplicates
from darksieve.datasets.events import Events, Role, concatenate
from darksieve.datasets.expressions import Expression
from darksieve.datasets.files import SampleFiles, TreeInfo, check_sample, describe, iterate_branches
from darksieve.datasets.folds import hash_event_key
from darksieve.datasets.kinematic_fit import fit_photons
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.errors import InputError

_CANDIDATE = "__candidate__"


@dataclass
class _Rows:
    """Rows of one file on their way to Events; all arrays have the same length."""

    columns: dict[str, NDArray]
    key: NDArray[np.uint64]
    candidate: NDArray[np.int32]
    mass: NDArray[np.float64]
    weight: NDArray[np.float64]
    entry: NDArray[np.int64]  # of the file's tree

    def __len__(self) -> int:
        return len(self.entry)

    def take(self, rows: NDArray[Any]) -> _Rows:
        return _Rows(
            {name: values[rows] for name, values in self.columns.items()},
            self.key[rows],
            self.candidate[rows],
            self.mass[rows],
            self.weight[rows],
            self.entry[rows],
        )


class SampleReader:
    """Reads one sample; everything that can be checked without reading events is checked on construction.

    Args:
        sample: The sample.
        recipe: What is read from it.
        needed_by: Who needs the columns, for messages: ``"bundle continuum-kplus"``.

    Raises:
        InputError: If a file is unreadable, or a branch is missing.
    """

    def __init__(self, sample: Sample, recipe: ReadRecipe, needed_by: str = "") -> None:
        self.sample = sample
        self.recipe = recipe
        trees = tuple(describe(path, sample.tree) for path in sample.files)
        names = [tree.names for tree in trees]

        def in_all(branch: str) -> bool:
            return all(branch in there for there in names)

        pairings = recipe.pairings
        self._fits = bool(
            pairings
            and pairings.kinematic_fit
            and (
                pairings.momentum == pairings.raw_momentum
                or not all(in_all(branch) for branch in pairings.momentum_branches(fitted=False))
            )
        )
        self._has_true_pair = bool(pairings and pairings.true_pair and sample.role is Role.SIGNAL)
        self._momentum_branches = pairings.momentum_branches(fitted=self._fits) if pairings else ()
        self._out = list(recipe.columns)
        if pairings:
            self._out += [pairings.observable] + ([TRUE_PAIR_COLUMN] if pairings.true_pair else [])
            self._out = list(dict.fromkeys(self._out))
        self._select = Expression(recipe.select) if recipe.select is not None else None
        self._sample_select = Expression(sample.select) if sample.select is not None else None

        self._key = [name for name in recipe.event_key if any(name in there for there in names)]
        if not self._key:
            raise InputError(
                f"{trees[0].place} has none of the event key's branches {list(recipe.event_key)}; "
                "name those it has in event_key"
            )
        self._has_candidate = in_all(_CANDIDATE)
        needed = dict.fromkeys([*self._branches_of(self._out), *self._momentum_branches])
        files = check_sample(sample, [*needed, *self._key], needed_by, trees=trees)
        if self._select is not None:
            self._check_select(trees)
        needed |= dict.fromkeys(self._branches_of(self._select.branches if self._select else ()))
        needed |= dict.fromkeys([*self._key, *sample.branches])
        if self._has_candidate:
            needed[_CANDIDATE] = None
        if self._has_true_pair and pairings and pairings.true_pair:
            needed[pairings.true_pair] = None
        self.files: SampleFiles = check_sample(sample, needed, needed_by, trees=files.trees)
        self._counter = self._new_counter()

    def _derived(self) -> tuple[str, ...]:
        """Columns that are computed, not read."""
        if self.recipe.pairings is None:
            return ()
        chi2 = (FIT_CHI2_COLUMN,) if self._fits else ()
        return (*self.recipe.pairings.kinematic_columns, TRUE_PAIR_COLUMN, *chi2)

    def _branches_of(self, columns: Iterable[str]) -> list[str]:
        """Branches that the columns are read or computed from."""
        branches: list[str] = []
        for column in columns:
            if column in self._derived():
                continue
            photons = self.recipe.pairings.branches_of(column) if self.recipe.pairings else ()
            branches += photons or [column]
        return branches

    def _check_select(self, trees: Iterable[TreeInfo]) -> None:
        assert self._select is not None
        own = [name for name in self._select.branches if self._branches_of([name]) != [name]]
        for tree in trees:
            self._select.check(tree.names.with_more([*own, *self._derived()]))

    def _new_counter(self) -> CutCounter:
        steps = ["rows read"]
        if self._sample_select:
            steps.append(f"sample: {self._sample_select.text}")
        if self._select and not self.recipe.pairings:
            steps.append(f"candidates: {self._select.text}")
        if self.sample.negative_weights == "drop":
            steps.append("weight not negative")
        if self.recipe.pairings:
            steps += ["finite momenta"] if self.sample.non_finite == "drop" else []
            steps += ["kinematic fit converged"] if self._fits else []
            steps.append("pairings")
        if self._select and self.recipe.pairings:
            steps.append(f"candidates: {self._select.text}")
        if self.sample.non_finite == "drop":
            steps.append("finite columns")
        return CutCounter(self.sample.name, steps)

    @property
    def cut_flow(self) -> CutFlow:
        """Rows left by each step of the last pass, as far as it went."""
        return self._counter.cut_flow

    def chunks(self) -> Iterator[Events]:
        """The sample in parts, in the order of the files; the parts do not depend on each other.

        Rows that are there twice are found by :meth:`read` only, which has all of them.

        Raises:
            InputError: If a value is not finite, a weight negative, or nothing is left at the end.
        """
        for _, rows in self._passes():
            if len(rows):
                yield self._events([rows])

    def candidates_of(
        self, columns: Mapping[str, NDArray], start: int = 0
    ) -> tuple[Events, NDArray[np.int64]]:
        """Candidates of rows that are in memory already, of the first file.

        Args:
            columns: Branches as the file names them, of shape (n,) each; more than are needed may be there.
            start: Entry of the file's tree that the rows start at, for messages.

        Returns:
            Candidates, and the position 0 … n − 1 of the row that each comes from.
        """
        info = self.files.trees[0]
        raw = {
            wanted: columns[info.names.get(wanted)].astype(kind, copy=False)
            for wanted, kind in self.files.types.items()
        }
        rows = self._rows(info, raw, start)
        position = rows.entry - start
        return self._events([rows]), position

    def read(self, progress: Callable[[int], None] | None = None) -> Events:
        """The whole sample.

        Args:
            progress: Called after each chunk with the number of entries read since the last call.

        Raises:
            InputError: As :meth:`chunks`, and if rows are there twice.
        """
        parts: list[_Rows] = []
        origins: list[tuple[Path, NDArray[np.int64]]] = []
        n_before = 0
        for path, rows in self._passes():
            if progress is not None:
                n_read = self.cut_flow.cuts[0].n_after
                progress(n_read - n_before)
                n_before = n_read
            parts.append(rows)
            origins.append((path, rows.entry))
        events = self._events(parts)
        if self.recipe.duplicates == "error":
            refuse_duplicates(events, origins, f"sample {self.sample.name}", self._key)
        return events

    def _passes(self) -> Iterator[tuple[Path, _Rows]]:
        self._counter = self._new_counter()
        for info in self.files.trees:
            for raw, start in self._raw_chunks(info):
                yield info.path, self._rows(info, raw, start)
        if not self.cut_flow.n_left and not self.recipe.may_be_empty:
            raise InputError(f"sample {self.sample.name}: no events are left\n{self.cut_flow}")

    def _raw_chunks(self, info: TreeInfo) -> Iterator[tuple[dict[str, NDArray], int]]:
        names = info.names
        own = {wanted: names.get(wanted) for wanted in self.files.types}
        for columns, start in iterate_branches(
            info.path, info.tree, set(own.values()), self.recipe.chunk_rows
        ):
            yield (
                {
                    wanted: columns[branch].astype(self.files.types[wanted], copy=False)
                    for wanted, branch in own.items()
                },
                start,
            )

    def _rows(self, info: TreeInfo, raw: dict[str, NDArray], start: int) -> _Rows:
        """One chunk, selected, weighted and paired."""
        recipe, count = self.recipe, self._counter.count
        n_read = len(raw[self._key[0]])
        count("rows read", n_read, n_read)
        entry = np.arange(start, start + n_read)
        for whose, expression in (("sample", self._sample_select), ("candidates", self._select)):
            if expression is None or (whose == "candidates" and recipe.pairings is not None):
                continue
            passed = np.flatnonzero(expression.select(raw))
            count(f"{whose}: {expression.text}", len(entry), len(passed))
            if len(passed) < len(entry):
                entry = entry[passed]
                raw = {name: values.take(passed) for name, values in raw.items()}
        mass, weight = self._masses_and_weights(info, raw, entry)
        rows = _Rows(
            raw,
            hash_event_key({name: raw[name] for name in self._key}),
            raw[_CANDIDATE].astype(np.int32) if self._has_candidate else np.zeros(len(entry), dtype=np.int32),
            mass,
            weight,
            entry,
        )
        rows = self._without_negative_weights(info, rows)
        if recipe.pairings is not None:
            rows = self._pair(info, rows)
        if self._select is not None and recipe.pairings is not None:
            n_before = len(rows)
            selected = self._select.select(rows.columns)
            count(f"candidates: {self._select.text}", n_before, int(selected.sum()))
            if not selected.all():
                rows.columns = {name: rows.columns[name] for name in self._out}
                rows = rows.take(np.flatnonzero(selected))
        rows.columns = {name: rows.columns[name] for name in self._out}
        checked = [name for name in self._out if name not in recipe.may_be_missing]
        return self._without_non_finite(info, rows, checked, "finite columns")

    def _masses_and_weights(
        self, info: TreeInfo, raw: Mapping[str, NDArray], entry: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sample = self.sample
        factor = raw[sample.weight] if sample.weight is not None else None
        if factor is not None and not np.isfinite(factor).all():
            bad = ~np.isfinite(factor)
            raise InputError(
                f"{info.place}: weight branch {sample.weight!r} has {int(bad.sum())} values that are not "
                f"finite, the first in entry {entry[bad][0]}"
            )
        mass = raw[sample.mass] if isinstance(sample.mass, str) and sample.role is Role.SIGNAL else None
        try:
            return sample.masses_and_weights(len(entry), self.recipe.luminosity_fb, mass, factor)
        except InputError as error:
            raise InputError(f"{info.place}: {error}") from None

    def _without_negative_weights(self, info: TreeInfo, rows: _Rows) -> _Rows:
        policy = self.sample.negative_weights
        if policy == "keep" or self.sample.weight is None:
            if policy == "drop":
                self._counter.count("weight not negative", len(rows), len(rows))
            return rows
        negative = rows.weight < 0
        if policy == "drop":
            self._counter.count("weight not negative", len(rows), int((~negative).sum()))
            return rows.take(np.flatnonzero(~negative)) if negative.any() else rows
        if negative.any():
            raise InputError(
                f"{info.place}: {int(negative.sum())} of {len(rows)} rows have a negative weight (branch "
                f"{self.sample.weight!r}), the first in entry {rows.entry[negative][0]}; "
                "say what to do with them: negative_weights: keep or drop"
            )
        return rows

    def _without_non_finite(self, info: TreeInfo, rows: _Rows, names: Iterable[str], step: str) -> _Rows:
        policy = self.sample.non_finite
        if policy == "keep":
            return rows
        good = np.ones(len(rows), dtype=bool)
        for name in names:
            values = rows.columns[name]
            if values.dtype.kind != "f":
                continue
            finite = np.isfinite(values)
            if finite.all():
                continue
            if policy == "error":
                bad = ~finite
                n_nan = int(np.isnan(values).sum())
                first, last = rows.entry[0], rows.entry[-1]
                raise InputError(
                    f"{info.place}: column {name!r} has {int(bad.sum())} values that are not finite "
                    f"({n_nan} NaN) in entries {first} to {last}, the first in entry {rows.entry[bad][0]}; "
                    "select them away, or say what to do with them: non_finite: drop or keep"
                )
            good &= finite
        if policy == "drop":
            self._counter.count(step, len(rows), int(good.sum()))
        return rows if good.all() else rows.take(np.flatnonzero(good))

    def _pair(self, info: TreeInfo, rows: _Rows) -> _Rows:
        recipe, pairings = self.recipe, self.recipe.pairings
        assert pairings is not None
        assert recipe.beams is not None
        if self.sample.non_finite != "keep":
            rows = self._without_non_finite(info, rows, self._momentum_branches, "finite momenta")
        components = pairings.raw_momentum if self._fits else pairings.momentum
        momenta = photon_momenta(rows.columns, pairings.photons, components)
        if self._fits:
            fitted = fit_photons(momenta, recipe.beams, recipe.resolution)
            self._counter.count("kinematic fit converged", len(rows), int(fitted.converged.sum()))
            kept = np.flatnonzero(fitted.converged)
            momenta = fitted.momenta[kept]
            rows = rows.take(kept)
            rows.columns[FIT_CHI2_COLUMN] = fitted.chi2[kept]
        true_pair = rows.columns[pairings.true_pair] if self._has_true_pair and pairings.true_pair else None
        selected = self._select.branches if self._select is not None else ()
        made = build_candidates(
            rows.columns,
            pairings,
            recipe.beams,
            wanted=[*self._out, *selected],
            momenta=momenta,
            true_pair=true_pair,
        )
        self._counter.count("pairings", len(rows), len(made))
        event = made.event
        n_pairs = len(pairings.pairs)
        return _Rows(
            dict(made.columns),
            rows.key[event],
            rows.candidate[event] * np.int32(n_pairs) + made.pairing,
            rows.mass[event],
            rows.weight[event],
            rows.entry[event],
        )

    def _events(self, parts: list[_Rows]) -> Events:
        def joined(arrays: list[NDArray]) -> NDArray:
            array = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
            array = array if array.base is None else array.copy()
            array.flags.writeable = False  # ours alone: Events need not copy it
            return array

        columns = {}
        for name in self._out:
            columns[name] = joined([part.columns.pop(name) for part in parts])
        n = sum(len(part) for part in parts)
        return Events(
            columns=columns,
            samples=(self.sample.info,),
            sample_index=np.zeros(n, dtype=np.int16),
            weight=joined([part.weight for part in parts]),
            mass=joined([part.mass for part in parts]),
            key=joined([part.key for part in parts]),
            candidate=joined([part.candidate for part in parts]),
        )


def read_branch(
    path: str | Path, branch: str, *, tree: str | None = None, select: str | None = None
) -> NDArray[Any]:
    """One branch of one file, of the rows that pass a selection, shape (n,).

    Args:
        path: A ROOT file.
        branch: Name in basf2's or ROOT's form.
        tree: Name of the TTree; None where the file has only one.
        select: Expression over branches; None for all rows.

    Raises:
        InputError: If the file, the tree or a branch is not there.
    """
    info = describe(path, tree)
    expression = Expression(select) if select is not None else None
    if expression is not None:
        expression.check(info.names)
    wanted = dict.fromkeys([branch, *(expression.branches if expression is not None else ())])
    own = {name: info.names.get(name) for name in wanted}
    for name, found in own.items():
        if info.types[found] is None:
            raise InputError(f"{info.place}: branch {name!r} holds no single numbers, but lists or text")
    parts = []
    for columns, _ in iterate_branches(path, info.tree, set(own.values()), 200_000):
        values = columns[own[branch]]
        parts.append(values if expression is None else values[expression.select(columns)])
    return np.concatenate(parts)


@dataclass(frozen=True)
class ReadSamples:
    """Events of several samples, and what the selections left of each.

    Attributes:
        events: Rows of all samples, in the order of the samples.
        cut_flows: Sample name -> its cut flow.
    """

    events: Events
    cut_flows: Mapping[str, CutFlow]


def read_samples(samples: Iterable[Sample], recipe: ReadRecipe) -> ReadSamples:
    """All samples of a search; every file of every sample is checked before the first event is read.

    Raises:
        InputError: As :class:`SampleReader`.
    """
    readers = [SampleReader(sample, recipe) for sample in samples]
    if not readers:
        raise InputError("there are no samples to read")
    parts = [reader.read() for reader in readers]
    return ReadSamples(concatenate(parts), {reader.sample.name: reader.cut_flow for reader in readers})

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
    build_candidates,
    photon_momenta,
)
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.cut_flow import CutCounter, CutFlow
from darksieve.datasets.duplicates import DuplicateSearch, duplicate_error, marks_of
from darksieve.datasets.events import Events, Role, concatenate
from darksieve.datasets.expressions import Expression
from darksieve.datasets.files import SampleFiles, describe, iterate_branches
from darksieve.datasets.folds import hash_event_key
from darksieve.datasets.kinematic_fit import fit_photons, fit_photons_present
from darksieve.datasets.missing import without_sentinels
from darksieve.datasets.read_plan import CANDIDATE, ReadPlan
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.rows import RowBuffer, Rows, take, whole_events
from darksieve.datasets.tree_info import TreeInfo
from darksieve.datasets.weight_policy import WeightPolicy
from darksieve.datasets.weights import PolicyEffect
from darksieve.errors import InputError


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
        self.plan = ReadPlan(sample, recipe, needed_by)
        self._counter = CutCounter(sample.name, self.plan.steps)
        self._policy = WeightPolicy(sample, recipe.windows)

    @property
    def files(self) -> SampleFiles:
        """The sample's files."""
        return self.plan.files

    @property
    def cut_flow(self) -> CutFlow:
        """Rows left by each step of the last pass, as far as it went."""
        return self._counter.cut_flow

    @property
    def policy_effect(self) -> PolicyEffect:
        """What the policy for negative weights did in the last pass, as far as it went."""
        return self._policy.effect

    def chunks(self) -> Iterator[Events]:
        """The sample in parts, in the order of the files; with ``whole_events`` no part splits an event.

        Rows that are there twice are found when all have been read; until then 8 bytes are kept of each.
        With ``negative_weights: rescale`` the files are read twice, first for the sums of weights.

        Raises:
            InputError: If a value is not finite or a weight negative; at the end, if nothing is left, rows
                are there twice, or an event's candidates are not together where ``whole_events`` needs that.
        """
        passes = self._searched(self._after_policy(self._policy.scale(self._passes)))
        if self.recipe.whole_events:
            events = DuplicateSearch()
            passes = whole_events(passes, events.add)
        for _, rows in passes:
            if len(rows):
                yield self._events(rows)
        if self.recipe.whole_events and events.repeated()[1]:
            raise InputError(
                f"sample {self.sample.name}: the candidates of {len(events.repeated()[0])} events are not in "
                "consecutive rows, so that a stream cannot compare them; sort the files by event"
            )

    def candidates_of(self, columns: Mapping[str, Any], start: int = 0) -> tuple[Events, NDArray[np.int64]]:
        """Candidates of rows that are in memory already, of the first file.

        Args:
            columns: Branches as the file names them, of shape (n,) each or a list per row; more than are
                needed may be there.
            start: Entry of the file's tree that the rows start at, for messages.

        Returns:
            Candidates, and the position 0 … n − 1 of the row that each comes from.
        """
        info = self.files.trees[0]
        rows = self._rows(info, self._in_memory(info, columns), start)
        position = rows.entry - start
        return self._events(rows), position

    def read(self, progress: Callable[[int], None] | None = None) -> Events:
        """The whole sample.

        Args:
            progress: Called after each chunk with the number of entries read since the last call.

        Raises:
            InputError: As :meth:`chunks`.
        """
        buffer = RowBuffer(self.files.n_entries)
        n_before = 0
        for _, rows in self._searched(self._after_policy()):
            n_read = self.cut_flow.cuts[0].n_after
            if progress is not None:
                progress(n_read - n_before)
                n_before = n_read
            buffer.add(rows, n_read)
        events = self._events(buffer.rows())
        scale = self._policy.rescale()
        return events if scale == 1 else events.with_weight(events.weight * scale)

    def _searched(self, passes: Iterable[tuple[Path, Rows]]) -> Iterator[tuple[Path, Rows]]:
        """The same rows; at the end those that are there twice are refused, unless they are to be kept."""
        if self.recipe.duplicates == "keep":
            yield from passes
            return
        search = DuplicateSearch()
        for path, rows in passes:
            search.add(marks_of(rows.key, rows.candidate))
            yield path, rows
        self.refuse_repeated(search)

    def refuse_repeated(self, search: DuplicateSearch) -> None:
        """Refuse rows that a search over the whole sample found twice; reads the files again to say where.

        Raises:
            InputError: Says how many there are, and the file and entry of the first two.
        """
        repeated, n_repeats = search.repeated()
        if n_repeats:
            place = f"sample {self.sample.name}"
            raise duplicate_error(self._after_policy(), repeated, n_repeats, place, self.plan.key)

    def _passes(self) -> Iterator[tuple[Path, Rows]]:
        """Selected rows, before the policy for negative weights."""
        for info in self.files.trees:
            for raw, start in self._raw_chunks(info):
                yield info.path, self._rows(info, raw, start)
        if not self.cut_flow.n_left and not self.recipe.may_be_empty:
            raise InputError(f"sample {self.sample.name}: no events are left\n{self.cut_flow}")

    def _after_policy(self, scale: float = 1.0) -> Iterator[tuple[Path, Rows]]:
        self._counter = CutCounter(self.sample.name, self.plan.steps)
        return self._policy.applied(self._passes(), self._counter.count, scale)

    def _raw_chunks(self, info: TreeInfo) -> Iterator[tuple[dict[str, Any], int]]:
        own = {info.names.get(wanted) for wanted in self.plan.types}
        recipe = self.recipe
        for columns, start in iterate_branches(
            info.path, info.tree, own, recipe.chunk_rows, recipe.chunk_bytes
        ):
            yield self._in_memory(info, columns), start

    def _in_memory(self, info: TreeInfo, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Branches by their wanted names, in the sample's types and with NaN for what is missing."""
        raw = {}
        for wanted, kind in self.plan.types.items():
            raw[wanted] = columns[info.names.get(wanted)].astype(kind, copy=False)
        for wanted, missing in self.plan.missing_values.items():
            raw[wanted] = without_sentinels(raw[wanted], missing)
        return raw

    def _rows(self, info: TreeInfo, raw: dict[str, Any], start: int) -> Rows:
        """One chunk, selected, weighted and paired."""
        plan, recipe, count = self.plan, self.recipe, self._counter.count
        n_read = len(raw[plan.key[0]])
        count("rows read", n_read, n_read)
        entry = np.arange(start, start + n_read)
        for whose, expression in (("sample", plan.sample_select), ("candidates", plan.select)):
            if expression is None or (whose == "candidates" and recipe.pairings is not None):
                continue
            if whose == "candidates":
                plan.own.add_to(raw, expression.branches)
            passed = np.flatnonzero(expression.select(raw))
            count(f"{whose}: {expression.text}", len(entry), len(passed))
            if len(passed) < len(entry):
                entry = take(entry, passed)
                raw = {name: take(values, passed) for name, values in raw.items()}
        mass, weight = self._masses_and_weights(info, raw, entry)
        if self.sample.role is Role.SIGNAL and recipe.signal_share != 1:
            weight = weight * recipe.signal_share
        rows = Rows(
            raw,
            hash_event_key({name: raw[name] for name in plan.key}, recipe.period),
            raw[CANDIDATE].astype(np.int32) if plan.has_candidate else np.zeros(len(entry), dtype=np.int32),
            mass,
            weight,
            entry,
        )
        self._policy.refuse(info.place, rows)
        if recipe.pairings is not None:
            rows = self._pair(info, rows)
        if plan.select is not None and recipe.pairings is not None:
            n_before = len(rows)
            plan.own.add_to(rows.columns, plan.selected_on)
            selected = plan.select.select(rows.columns)
            count(f"candidates: {plan.select.text}", n_before, int(selected.sum()))
            if not selected.all():
                rows = rows.take(np.flatnonzero(selected))
        plan.own.add_to(rows.columns, plan.out)
        rows.columns = {name: rows.columns[name] for name in plan.out}
        checked = [
            name
            for name in plan.out
            if name not in recipe.may_be_missing
            and not (recipe.pairings is not None and recipe.pairings.may_be_absent(name))
        ]
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

    def _without_non_finite(self, info: TreeInfo, rows: Rows, names: Iterable[str], step: str) -> Rows:
        policy = self.sample.non_finite
        if policy == "keep":
            return rows
        good = np.ones(len(rows), dtype=bool)
        for name in names:
            values = rows.columns[name]
            if values.dtype.kind != "f":
                continue
            finite = ~np.isinf(values) if name in self.plan.nan_is_missing else np.isfinite(values)
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

    def _pair(self, info: TreeInfo, rows: Rows) -> Rows:
        recipe, pairings = self.recipe, self.recipe.pairings
        assert pairings is not None
        assert recipe.beams is not None
        if self.sample.non_finite != "keep":
            absent = pairings.absent_branches(fitted=self.plan.fits)
            needed = [branch for branch in self.plan.momentum_branches if branch not in absent]
            rows = self._without_non_finite(info, rows, needed, "finite momenta")
        components = pairings.raw_momentum if self.plan.fits else pairings.momentum
        momenta = photon_momenta(rows.columns, pairings.photons, components)
        if self.plan.fits:
            fit = fit_photons_present if pairings.may_lack_photons else fit_photons
            fitted = fit(momenta, recipe.beams, recipe.resolution)
            self._counter.count("kinematic fit converged", len(rows), int(fitted.converged.sum()))
            kept = np.flatnonzero(fitted.converged)
            momenta = fitted.momenta[kept]
            rows = rows.take(kept)
            rows.columns[FIT_CHI2_COLUMN] = fitted.chi2[kept]
        true_pair = (
            rows.columns[pairings.true_pair] if self.plan.has_true_pair and pairings.true_pair else None
        )
        made = build_candidates(
            rows.columns,
            pairings,
            recipe.beams,
            wanted=self.plan.own.sources_of([*self.plan.out, *self.plan.selected_on]),
            momenta=momenta,
            true_pair=true_pair,
        )
        self._counter.count("pairings", len(rows), len(made))
        event = made.event
        n_pairs = len(pairings.pairs)
        return Rows(
            dict(made.columns),
            rows.key[event],
            rows.candidate[event] * np.int32(n_pairs) + made.pairing,
            rows.mass[event],
            rows.weight[event],
            rows.entry[event],
        )

    def _events(self, rows: Rows) -> Events:
        def own(array: NDArray) -> NDArray:
            array = array if array.base is None else array.copy()
            array.flags.writeable = False  # ours alone: Events need not copy it
            return array

        return Events(
            columns={name: own(rows.columns[name]) for name in self.plan.out},
            samples=(self.sample.info,),
            sample_index=np.zeros(len(rows), dtype=np.int16),
            weight=own(rows.weight),
            mass=own(rows.mass),
            key=own(rows.key),
            candidate=own(rows.candidate),
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

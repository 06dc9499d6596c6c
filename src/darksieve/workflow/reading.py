"""What is read for a search: columns, selections and candidates, from every sample the same."""

from __future__ import annotations

from functools import cached_property

from darksieve.config import SampleConfig, SearchConfig
from darksieve.datasets.cache import Cache
from darksieve.datasets.cached_reader import CachedReader
from darksieve.datasets.candidates import PairingRecipe
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.derived import DerivedColumns
from darksieve.datasets.events import Role
from darksieve.datasets.expressions import Expression
from darksieve.datasets.files import describe
from darksieve.datasets.folds import EVENT_KEY
from darksieve.datasets.missing import MissingValues, columns_that_may_be_missing
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import SampleReader
from darksieve.errors import InputError
from darksieve.workflow.context import beams_of
from darksieve.workflow.correcting import SearchCorrection, load_corrections
from darksieve.workflow.weighing import windows_of_policy


class Reading:
    """What is read for a search: the columns that its later stages need, from every sample the same."""

    def __init__(self, config: SearchConfig, features: tuple[str, ...]) -> None:
        self.config = config
        self.features = features

    @cached_property
    def pairings(self) -> PairingRecipe | None:
        """How candidates are made of photons, where they are."""
        given = self.config.candidates.pairings
        if given is None:
            return None
        return PairingRecipe(
            photons=tuple(given.photons),
            momentum=tuple(given.momentum),  # type: ignore[arg-type]  # the config checks that there are four
            observable=given.observable,
            true_pair=given.true_pair,
            kinematic_fit=given.kinematic_fit,
        )

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Features, observables, what the channels select on, and what cuts are made on."""
        config = self.config
        wanted = [*self.features, config.scan.observable, *config.working_points.variables]
        for name, channel in config.channels.items():
            if channel.observable is not None:
                wanted.append(channel.observable)
            for key, selection in channel.selections.items():
                wanted.extend(channel_expression(name, selection, key).branches)
        for classifier in config.classifiers:
            wanted.extend(classifier.decorrelate)
            if classifier.select is not None:
                wanted.extend(classifier_expression(classifier.name, classifier.select).branches)
        if config.candidates.best is not None:
            wanted.append(config.candidates.best.by)
        return tuple(dict.fromkeys(wanted))

    @cached_property
    def families(self) -> tuple[str, ...]:
        """Branches that only some samples have: what tells their peaks apart, true decay lengths."""
        names = [_own_branch(sample) for sample in self.config.samples.values()]
        return tuple(dict.fromkeys(name for name in names if name is not None))

    @cached_property
    def corrections(self) -> tuple[SearchCorrection, ...]:
        """Corrections of the simulated weights, with their tables."""
        return load_corrections(self.config)

    @cached_property
    def observables(self) -> tuple[str, ...]:
        """Columns that are scanned or decorrelated, and so never missing."""
        config = self.config
        own = [channel.observable for channel in config.channels.values() if channel.observable is not None]
        decorrelated = [name for classifier in config.classifiers for name in classifier.decorrelate]
        return tuple(dict.fromkeys([config.scan.observable, *own, *decorrelated]))

    @cached_property
    def may_be_missing(self) -> tuple[str, ...]:
        """Features in which NaN means "missing"."""
        candidates = self.config.candidates
        own = DerivedColumns(candidates.columns)
        sentinels = MissingValues({k: tuple(v) for k, v in candidates.missing.items()})
        pairings = self.pairings

        def branches_of(name: str) -> tuple[str, ...]:
            return (pairings.branches_of(name) if pairings is not None else ()) or (name,)

        missing = columns_that_may_be_missing(self.features, own, sentinels, branches_of)
        return tuple(sorted(missing - set(self.observables)))

    @property
    def truth(self) -> str | None:
        """Branch of signal samples from which it is counted how often the best candidate is the true one."""
        best = self.config.candidates.best
        return None if best is None else best.truth

    def recipe(self, sample: Sample, *, may_be_empty: bool = False, whole_events: bool = False) -> ReadRecipe:
        """What is read of one sample; the event key's branches are kept where it has them."""
        config, candidates = self.config, self.config.candidates
        there = describe(sample.files[0], sample.tree).names
        more = [name for name in config.event_key if name in EVENT_KEY and name in there]
        if sample.role is Role.SIGNAL and self.truth is not None:
            more.append(self.truth)
        own = config.samples.get(sample.name)
        own_branch = None if own is None else _own_branch(own)
        if own_branch is not None:
            more.append(own_branch)
        luminosity_fb = config.luminosity_fb
        if sample.period is not None:
            luminosity_fb = config.periods[sample.period].luminosity_fb
        return ReadRecipe(
            columns=(*self.columns, *self._of_corrections(sample.name), *more),
            luminosity_fb=luminosity_fb,
            select=candidates.select,
            pairings=self.pairings,
            beams=beams_of(config, sample.period),
            event_key=tuple(config.event_key),
            derived=candidates.columns,
            missing={pattern: tuple(values) for pattern, values in candidates.missing.items()},
            may_be_missing=() if self.truth is None else (self.truth,),
            never_missing=self.observables,
            period=sample.period,
            signal_share=luminosity_fb / config.luminosity_fb,
            windows=windows_of_policy(config, sample),
            whole_events=whole_events and candidates.best is not None,
            may_be_empty=may_be_empty,
        )

    def _of_corrections(self, sample: str) -> tuple[str, ...]:
        return tuple(b for given in self.corrections if sample in given.samples for b in given.branches)

    def reader(self, sample: Sample, *, may_be_empty: bool = False) -> SampleReader:
        """The reader of one sample, which has checked its files and branches.

        Raises:
            InputError: If a file or a branch is missing.
        """
        return SampleReader(sample, self.recipe(sample, may_be_empty=may_be_empty))

    def cached(
        self,
        sample: Sample,
        cache: Cache | None,
        *,
        may_be_empty: bool = False,
        whole_events: bool = False,
    ) -> CachedReader:
        """The same through a cache."""
        recipe = self.recipe(sample, may_be_empty=may_be_empty, whole_events=whole_events)
        return CachedReader(sample, recipe, cache)


def _own_branch(sample: SampleConfig) -> str | None:
    """The branch that a sample has beside those of all samples."""
    if sample.lifetime is not None:
        return sample.lifetime.length
    return None if sample.peaks is None else sample.peaks.by


def channel_expression(name: str, select: str, key: str = "select") -> Expression:
    """The selection of a channel, or (by its key) the wider one around it.

    Raises:
        InputError: If it is not an expression; names the channel.
    """
    try:
        return Expression(select)
    except InputError as error:
        raise InputError(f"channels.{name}.{key}: {error}") from None


def classifier_expression(name: str, select: str) -> Expression:
    """The selection of what a classifier learns from.

    Raises:
        InputError: If it is not an expression; names the classifier.
    """
    try:
        return Expression(select)
    except InputError as error:
        raise InputError(f"classifiers.{name}.select: {error}") from None

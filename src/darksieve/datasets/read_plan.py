"""The plan of a reading: which branches are needed and what is made of them, held against the files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from darksieve.datasets.candidates import FIT_CHI2_COLUMN, TRUE_PAIR_COLUMN
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.derived import DerivedColumns
from darksieve.datasets.events import Role
from darksieve.datasets.expressions import Expression
from darksieve.datasets.files import SampleFiles, check_sample, describe_sample
from darksieve.datasets.missing import MissingValues, columns_that_may_be_missing
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.tree_info import TreeInfo
from darksieve.datasets.weight_policy import NOT_NEGATIVE
from darksieve.errors import InputError

CANDIDATE = "__candidate__"


class ReadPlan:
    """What is read of a sample's files, after everything that can be checked without reading events.

    Args:
        sample: The sample.
        recipe: What is wanted from it.
        needed_by: Who needs the columns, for messages: ``"bundle continuum-kplus"``.

    Attributes:
        files: The files, with the type and kind of each branch that is needed.
        missing_values: Needed branch -> values that mean "missing" in it, where there are any.
        types: Needed branch -> type in memory: wider than the file's where a sentinel becomes NaN.
        out: Columns of the events.
        key: Branches of the event key that the files have.
        own: Columns defined by expressions.
        nan_is_missing: Columns in which NaN means "missing": by a sentinel, or since a list may be empty.
        has_candidate: Whether the files number their candidates.
        has_true_pair: Whether a branch says which pairing is the true one.
        fits: Whether photons are fitted to the beams.
        momentum_branches: Branches of the photons' momenta.
        select: Selection of candidates, or None.
        sample_select: Selection of the sample's rows, or None.

    Raises:
        InputError: If a file is unreadable, a branch is missing or of the wrong kind, or a name is taken.
    """

    def __init__(self, sample: Sample, recipe: ReadRecipe, needed_by: str = "") -> None:
        self.sample = sample
        self.recipe = recipe
        trees = describe_sample(sample)
        names = [tree.names for tree in trees]
        pairings = recipe.pairings
        self.fits = bool(
            pairings
            and pairings.kinematic_fit
            and (
                pairings.momentum == pairings.raw_momentum
                or not all(b in there for b in pairings.momentum_branches(fitted=False) for there in names)
            )
        )
        self.has_true_pair = bool(pairings and pairings.true_pair and sample.role is Role.SIGNAL)
        self.momentum_branches = pairings.momentum_branches(fitted=self.fits) if pairings else ()
        self.out = list(recipe.columns)
        if pairings:
            self.out += [pairings.observable] + ([TRUE_PAIR_COLUMN] if pairings.true_pair else [])
            self.out = list(dict.fromkeys(self.out))
        self.select = Expression(recipe.select) if recipe.select is not None else None
        self.sample_select = Expression(sample.select) if sample.select is not None else None
        self.own = DerivedColumns(recipe.derived)
        self.sentinels = MissingValues(recipe.missing)
        self.key = [name for name in recipe.event_key if any(name in there for there in names)]
        if not self.key:
            raise InputError(
                f"{trees[0].place} has none of the event key's branches {list(recipe.event_key)}; "
                "name those it has in event_key"
            )
        self.has_candidate = all(CANDIDATE in there for there in names)
        self._refuse_taken_names(trees)
        plain = self._plain_branches()
        check_sample(sample, plain, needed_by, trees, self._may_be_lists(plain))
        self._check_expressions(trees)
        used = [name for e in self._expressions().values() for name in e.branches if name not in self.own]
        needed = dict.fromkeys([*plain, *self._branches_of(used)])
        self.files: SampleFiles = check_sample(sample, needed, needed_by, trees, self._may_be_lists(plain))
        self._check_lists()
        values = {name: self.sentinels.values_of(name) for name in self.files.types}
        self.missing_values = {name: of_name for name, of_name in values.items() if of_name}
        self.types: Mapping[str, np.dtype] = {
            name: self.sentinels.type_of(dtype) if name in self.missing_values else dtype
            for name, dtype in self.files.types.items()
        }
        self.nan_is_missing = self._nan_is_missing()

    @property
    def computed(self) -> tuple[str, ...]:
        """Columns that pairing computes."""
        if self.recipe.pairings is None:
            return ()
        chi2 = (FIT_CHI2_COLUMN,) if self.fits else ()
        return (*self.recipe.pairings.kinematic_columns, TRUE_PAIR_COLUMN, *chi2)

    @property
    def selected_on(self) -> tuple[str, ...]:
        """Names in the selection of candidates."""
        return self.select.branches if self.select is not None else ()

    @property
    def steps(self) -> list[str]:
        """Names of the cut flow's steps, in order."""
        pairings, non_finite = self.recipe.pairings, self.sample.non_finite
        steps = ["rows read"]
        if self.sample_select:
            steps.append(f"sample: {self.sample_select.text}")
        if self.select and not pairings:
            steps.append(f"candidates: {self.select.text}")
        if pairings:
            steps += ["finite momenta"] if non_finite == "drop" else []
            steps += ["kinematic fit converged"] if self.fits else []
            steps.append("pairings")
        if self.select and pairings:
            steps.append(f"candidates: {self.select.text}")
        if non_finite == "drop":
            steps.append("finite columns")
        if self.sample.negative_weights == "drop":
            steps.append(NOT_NEGATIVE)
        return steps

    def _branches_of(self, columns: Iterable[str]) -> list[str]:
        """Branches that columns, derived ones apart, are read or computed from."""
        branches: list[str] = []
        for column in columns:
            if column in self.computed:
                continue
            photons = self.recipe.pairings.branches_of(column) if self.recipe.pairings else ()
            branches += photons or [column]
        return branches

    def _plain_branches(self) -> list[str]:
        """Branches that are needed as they are, and not only in expressions."""
        sample, pairings = self.sample, self.recipe.pairings
        plain = self._branches_of(name for name in self.out if name not in self.own)
        plain += [*self.momentum_branches, *self.key]
        plain += [name for name in (sample.mass, sample.weight) if isinstance(name, str)]
        if self.has_candidate:
            plain.append(CANDIDATE)
        if self.has_true_pair and pairings and pairings.true_pair:
            plain.append(pairings.true_pair)
        return list(dict.fromkeys(plain))

    def _expressions(self) -> dict[str, Expression]:
        """Expressions over branches, by their place."""
        own = self.own.used_by([*self.out, *self.selected_on])
        expressions = {f"{self.own.place}.{name}": self.own.expression(name) for name in own}
        if self.sample_select is not None:
            expressions[f"samples.{self.sample.name}.select"] = self.sample_select
        if self.select is not None:
            expressions["candidates.select"] = self.select
        return expressions

    def _may_be_lists(self, plain: Iterable[str]) -> set[str]:
        """Branches that stand inside reductions only."""
        expressions = list(self._expressions().values())
        inside = {name for e in expressions for name in e.list_branches}
        outside = {name for e in expressions for name in e.branches if name not in e.list_branches}
        return inside - outside - set(plain)

    def _refuse_taken_names(self, trees: Iterable[TreeInfo]) -> None:
        for name in self.recipe.derived:
            taken = next((tree.place for tree in trees if name in tree.names), None)
            if name in self.computed:
                taken = "pairing"
            if taken is not None:
                raise InputError(f"{self.own.place}.{name}: {taken} has such a column; choose another name")

    def _check_expressions(self, trees: Iterable[TreeInfo]) -> None:
        for place, expression in self._expressions().items():
            if expression is self.sample_select:
                continue  # checked with the sample's other branches
            photons = [name for name in expression.branches if self._branches_of([name]) != [name]]
            for tree in trees:
                names = tree.names.with_more([*photons, *self.computed, *self.recipe.derived])
                try:
                    expression.check(names)
                except InputError as error:
                    raise InputError(f"{place}: {error}") from None

    def _check_lists(self) -> None:
        for place, expression in self._expressions().items():
            try:
                expression.check_lists(self.files.lists)
            except InputError as error:
                raise InputError(f"{place}: {error}") from None

    def _nan_is_missing(self) -> frozenset[str]:
        branches_of = self._branches_of
        missing = columns_that_may_be_missing(
            self.out, self.own, self.sentinels, lambda name: branches_of([name])
        )
        return frozenset(missing - set(self.recipe.never_missing))

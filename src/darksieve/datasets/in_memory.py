"""Candidates of columns that are in memory, made as the reader makes those of a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.candidates import (
    FIT_CHI2_COLUMN,
    TRUE_PAIR_COLUMN,
    build_candidates,
    photon_momenta,
)
from darksieve.datasets.derived import DerivedColumns
from darksieve.datasets.events import Events, SampleInfo
from darksieve.datasets.expressions import Expression
from darksieve.datasets.folds import hash_event_key
from darksieve.datasets.kinematic_fit import fit_photons, fit_photons_present
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.errors import InputError

CANDIDATE = "__candidate__"


def events_in_memory(columns: Mapping[str, NDArray], recipe: ReadRecipe, sample: SampleInfo) -> Events:
    """Candidates of simulated columns that need no file: fitted, paired, selected; every weight is 1.

    They are those that :class:`~darksieve.datasets.reader.SampleReader` makes of a file with these columns;
    values that are not finite are kept.

    Args:
        columns: Branches by the names of the recipe, each of shape (n,), with the event key.
        recipe: What is made of them. Values that mean "missing" are for files.
        sample: The sample's name and role.

    Raises:
        InputError: If a column is not there, or the recipe names values that mean "missing".
    """
    if recipe.missing:
        raise InputError(
            f"missing: {next(iter(recipe.missing))!r} has values that mean 'missing', which events in memory"
            " do not have"
        )
    own = DerivedColumns(recipe.derived)
    select = None if recipe.select is None else Expression(recipe.select)
    keys = {name: columns[name] for name in recipe.event_key if name in columns}
    key = hash_event_key(keys, recipe.period)
    rows = dict(columns)
    candidate = np.asarray(columns.get(CANDIDATE, np.zeros(len(key), np.int32)), dtype=np.int32)
    out = list(recipe.columns)
    pairings = recipe.pairings
    if pairings is not None:
        out = list(dict.fromkeys([*out, pairings.observable]))
    wanted = [*out, *(select.branches if select is not None else ())]
    if pairings is not None:
        assert recipe.beams is not None
        fits = pairings.kinematic_fit and any(
            name not in columns for name in pairings.momentum_branches(fitted=False)
        )
        components = pairings.raw_momentum if fits else pairings.momentum
        _need(rows, pairings.momentum_branches(fitted=fits))
        momenta = photon_momenta(rows, pairings.photons, components)
        if fits:
            fit = fit_photons_present if pairings.may_lack_photons else fit_photons
            fitted = fit(momenta, recipe.beams, recipe.resolution)
            kept = np.flatnonzero(fitted.converged)
            momenta, key, candidate = fitted.momenta[kept], key[kept], candidate[kept]
            rows = {name: values[kept] for name, values in rows.items()}
            rows[FIT_CHI2_COLUMN] = fitted.chi2[kept]
        sources = own.sources_of(wanted)
        made_here = {*pairings.kinematic_columns, TRUE_PAIR_COLUMN}
        _need(
            rows,
            [
                branch
                for name in sources
                if name not in made_here
                for branch in (pairings.branches_of(name) or (name,))
            ],
        )
        made = build_candidates(rows, pairings, recipe.beams, wanted=sources, momenta=momenta)
        rows = dict(made.columns)
        key = key[made.event]
        candidate = candidate[made.event] * np.int32(len(pairings.pairs)) + made.pairing
    else:
        _need(rows, own.sources_of(wanted))
    own.add_to(rows, wanted)
    if select is not None:
        passed = np.flatnonzero(select.select(rows))
        rows = {name: rows[name][passed] for name in out}
        key, candidate = key[passed], candidate[passed]
    n = len(key)
    return Events(
        columns={name: rows[name] for name in out},
        samples=(sample,),
        sample_index=np.zeros(n, dtype=np.int16),
        weight=np.ones(n),
        mass=np.full(n, np.nan),
        key=key,
        candidate=candidate,
    )


def _need(columns: Mapping[str, NDArray], names: Iterable[str]) -> None:
    for name in names:
        if name not in columns:
            raise InputError(f"the events in memory have no column {name!r}")

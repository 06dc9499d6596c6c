"""Corrections of the simulation: loaded, applied to the samples that they are for, and handed to the scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.config import SearchConfig
from darksieve.datasets.corrections import (
    OUTSIDE,
    CorrectionTable,
    EigenVariations,
    bin_columns,
    correct,
    uncorrected,
)
from darksieve.datasets.events import Events
from darksieve.errors import InputError
from darksieve.evaluation.correction_sizes import Correction
from darksieve.workflow.table import CandidateTable


@dataclass(frozen=True, eq=False)
class SearchCorrection:
    """A correction of the config.

    Attributes:
        correction: Its table and variations.
        objects: What is corrected, each in turn.
        samples: Names of the samples that it is for.
    """

    correction: Correction
    objects: tuple[str, ...]
    samples: frozenset[str]

    @property
    def name(self) -> str:
        """Its name in the config."""
        return self.correction.name

    @property
    def variations(self) -> EigenVariations:
        """Of its table."""
        return self.correction.variations

    @property
    def branches(self) -> tuple[str, ...]:
        """Branches that its bins are made from."""
        table = self.correction.table
        return tuple(branch for one in self.objects or ("",) for branch in table.branches(one))


def load_corrections(config: SearchConfig) -> tuple[SearchCorrection, ...]:
    """Every correction of a config, with its table.

    Raises:
        InputError: If a table is wrong, or its axes and the config disagree on whether there are objects.
    """
    found = []
    for name, given in config.corrections.items():
        place = f"corrections.{name}"
        try:
            table = CorrectionTable.load(given.file)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        has_object = any("{object}" in axis.branch for axis in table.axes)
        if has_object != bool(given.objects):
            mend = "give objects" if has_object else "leave out objects"
            raise InputError(
                f"{place}: its axes {[axis.branch for axis in table.axes]} and objects {given.objects}"
                f" do not go together; {mend}"
            )
        samples = frozenset(
            sample
            for sample, of in config.samples.items()
            if (sample in given.samples if given.samples is not None else of.role in given.roles)
        )
        correction = Correction(name, table, table.variations(given.keep))
        found.append(SearchCorrection(correction, tuple(given.objects), samples))
    return tuple(found)


def apply_corrections(events: Events, sample: str, corrections: tuple[SearchCorrection, ...]) -> Events:
    """One sample's candidates with their weights corrected, and the bins that they use."""
    for given in corrections:
        if sample in given.samples:
            events = correct(events, given.name, given.correction.table, given.objects)
        else:
            events = uncorrected(events, given.name, given.objects)
    return events


def bins_of(table: CandidateTable, corrections: tuple[SearchCorrection, ...]) -> dict[str, NDArray[np.int32]]:
    """Correction -> bins that each candidate uses, shape (n, n_objects)."""
    return {
        given.name: np.stack([table.bins[name] for name in bin_columns(given.name, given.objects)], axis=1)
        for given in corrections
    }


def identity_of_factors(corrections: tuple[SearchCorrection, ...]) -> dict[str, Any]:
    """What the candidates' weights depend on; not the covariance, which only the limits see."""
    return {
        given.name: [
            sorted(given.samples),
            given.objects,
            given.correction.table.outside,
            given.correction.table.values.tolist(),
            [[axis.branch, axis.edges.tolist()] for axis in given.correction.table.axes],
        ]
        for given in corrections
    }


def identity_of_variations(corrections: tuple[SearchCorrection, ...]) -> dict[str, Any]:
    """What the nuisances depend on beside the factors."""
    return {
        given.name: [part.tolist() for part in (given.variations.shifts, given.variations.rest)]
        for given in corrections
    }


def lines_of(corrections: tuple[SearchCorrection, ...]) -> list[str]:
    """A line for each, for the user."""
    lines = []
    for given in corrections:
        table, variations = given.correction.table, given.variations
        rest = ", the rest is one more" if variations.rest.any() else ""
        samples = ", ".join(sorted(given.samples))
        kept = f"keep {100 * variations.fraction_kept:.4g} % of its variance"
        lines.append(
            f"correction {given.name}: {table.name}, {len(table.values)} bins, on {samples};"
            f" {len(variations.shifts)} nuisances {kept}{rest}"
        )
    return lines


def describe_corrections(
    events: Events, corrections: tuple[SearchCorrection, ...]
) -> dict[str, Mapping[str, Any]]:
    """What each correction did, for the metrics: factors by sample, and how much variance is kept."""
    described: dict[str, Mapping[str, Any]] = {}
    for given in corrections:
        table, variations = given.correction.table, given.variations
        samples = {}
        for sample in events.samples:
            if sample.name not in given.samples:
                continue
            own = events.from_sample(sample.name)
            bins = np.stack([own[c] for c in bin_columns(given.name, given.objects)], axis=1)
            factor = np.prod(table.factors(bins), axis=1)
            before = float(np.sum(own.weight / factor))
            samples[sample.name] = {
                "mean_factor": float(own.weight.sum()) / before if before else None,
                "rows_outside": int(np.any(bins == OUTSIDE, axis=1).sum()),
            }
        described[given.name] = {
            "table": table.name,
            "source": table.source,
            "n_bins": len(table.values),
            "n_variations": len(variations.shifts),
            "fraction_of_variance_kept": variations.fraction_kept,
            "rest_is_a_nuisance": bool(variations.rest.any()),
            "samples": samples,
        }
    return described

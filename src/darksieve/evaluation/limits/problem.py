"""A batch of fit problems as flat arrays: what the compiled kernels read.

The expected number of events in row r of channel c is

    ν_r = μ Y_c(θ) [S_r + Σ_j θ_j D_jr + ½ Σ_ij θ_i θ_j E_ijr] + Σ_m C_m(θ) F_mr + Σ_k β_k P_kr + β f_r(λ)

with one signal strength μ, nuisances θ of unit Gaussian constraint, and the free background coefficients β
(and one slope λ) of each channel. A row is a bin (exposure 1), an observed event (exposure 0, count 1,
densities as templates), an integral over the window (exposure 1, count 0) or a place where the density must
stay positive (neither): binned and exact unbinned likelihoods are one sum Σ [a ν − n ln ν].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# how a nuisance scales a yield: not at all, (1+size)^θ, 1 + size·θ, size·θ (an added amount)
NO_EFFECT, LOG_NORMAL, LINEAR, ADDITIVE = 0, 1, 2, 3


class Rows(NamedTuple):
    """Rows of every problem and channel, flat.

    Attributes:
        start: First row of each channel, shape (n_problems, n_channels + 1); channels follow one another.
        column_start: Where the templates of a channel begin in ``columns``, shape (n_problems, n_channels).
        columns: Templates; for each channel a matrix (n_templates, n_rows) in the order S, D_1 … D_J, E_11,
            E_12 …, E_22 …, F_1 … F_M, P_1 … P_K.
        counts: Observed counts of the rows, shape (n_rows,).
        exposure: 1 for bins and integrals, 0 for events, shape (n_rows,).
        slope_position: Middle of a row in the variable of the slope (x or ln x, scaled to the window).
        slope_width: Width of the row in the same variable, 0 for events.
        slope_scale: Factor of e^{λt}; with the width, f is scale · e^{λt} · sinh(λw/2)/(λw/2), divided by its
            sum over bins and integrals: β counts events. The three are empty where no channel has a slope.
        near_peak: Part of the row within ±2σ of the peak, shape (n_rows,); empty for events.
    """

    start: Integers
    column_start: Integers
    columns: Floats
    counts: Floats
    exposure: Floats
    slope_position: Floats
    slope_width: Floats
    slope_scale: Floats
    near_peak: Floats


class Structure(NamedTuple):
    """Parameters of every problem: [β of channel 1, (λ), β of channel 2 …, μ, θ_1 … θ_T].

    Attributes:
        n_linear: Free coefficients β with a template, shape (n_problems, n_channels).
        has_slope: Whether the channel has β e^{λt}, same shape, 0 or 1.
        n_components: Constrained or fixed components F, same shape.
        yield_kind: How nuisance t scales the signal, shape (n_problems, n_channels, n_nuisances).
        yield_size: Its size, same shape.
        component_kind: The same for the components, shape (n_problems, n_channels, n_components,
            n_nuisances).
        component_size: Same shape.
        morph_nuisance: Nuisance of morph j, shape (n_morphs,).
        curved: Whether templates E are there, shape (1,), 0 or 1.
        n_parameters: Shape (n_problems,).
        start: Start values, shape (n_problems, max. parameters).
        lower: Bounds, same shape.
        upper: Same shape.
        auxiliary: Measured values of the constraints, shape (n_problems, n_nuisances).
    """

    n_linear: Integers
    has_slope: Integers
    n_components: Integers
    yield_kind: Integers
    yield_size: Floats
    component_kind: Integers
    component_size: Floats
    morph_nuisance: Integers
    curved: Integers
    n_parameters: Integers
    start: Floats
    lower: Floats
    upper: Floats
    auxiliary: Floats


def _standard(array: NDArray) -> NDArray:
    dtype = np.float64 if np.issubdtype(array.dtype, np.floating) else np.int64
    return np.require(array, dtype, ["C", "A", "W"])


@dataclass(frozen=True)
class ProblemBatch:
    """P fit problems (masses) with their data.

    Attributes:
        structure: Parameters, bounds, nuisances.
        rows: Bins: the observed counts, the Asimov sets and the toys live on them.
        events: Rows of the exact unbinned likelihood of the observed data, or None where bins are fitted.
        events_per_unit: Signal events of all channels for one unit of the parameter, shape (n_problems,). The
            strength inside the kernels is in events.
        blind: Whether there are no data: ``structure.start`` is then the nominal background.
        labels: Of the problems.
        masses: GeV, NaN where unknown, shape (n_problems,).
    """

    structure: Structure
    rows: Rows
    events: Rows | None
    events_per_unit: Floats
    blind: bool
    labels: tuple[str, ...]
    masses: Floats

    def __post_init__(self) -> None:
        # one memory layout: every other one would be compiled anew
        for name in ("structure", "rows", "events"):
            arrays = getattr(self, name)
            if arrays is not None:
                object.__setattr__(self, name, type(arrays)(*(_standard(array) for array in arrays)))
        n_problems, n_channels = self.structure.n_linear.shape
        for rows in (self.rows, self.events):
            if rows is None:
                continue
            if rows.start.shape != (n_problems, n_channels + 1):
                raise ValueError(f"row starts of shape {rows.start.shape} for {n_problems} × {n_channels}")
            for name in ("columns", "counts", "exposure"):
                if not np.all(np.isfinite(getattr(rows, name))):
                    raise ValueError(f"{name} hold numbers that are not finite")
            if np.any(rows.counts < 0):
                raise ValueError("counts must not be negative")
        if len(self.labels) != n_problems or len(self.events_per_unit) != n_problems:
            raise ValueError("one label and one yield per problem")

    @property
    def n_problems(self) -> int:
        """Number of problems."""
        return int(self.structure.n_linear.shape[0])

    @property
    def n_channels(self) -> int:
        """Largest number of channels of a problem."""
        return int(self.structure.n_linear.shape[1])

    @property
    def n_nuisances(self) -> int:
        """Number of constrained parameters."""
        return int(self.structure.auxiliary.shape[1])

    @property
    def observed(self) -> Rows:
        """The rows that the observed data are fitted on."""
        return self.rows if self.events is None else self.events

    def strength_index(self, problem: int) -> int:
        """Position of μ among the parameters of a problem; the background comes before, θ after."""
        return int(self.structure.n_parameters[problem]) - self.n_nuisances - 1

    def with_counts(self, counts: Floats) -> ProblemBatch:
        """The same problems with other counts in the bins, shape (n_rows,); the fit is then binned."""
        values = np.ascontiguousarray(counts, np.float64)
        if values.shape != self.rows.counts.shape:
            raise ValueError(f"{values.shape} counts for {self.rows.counts.shape} bins")
        return replace(self, rows=self.rows._replace(counts=values), events=None, blind=False)

    def subset(self, problems: NDArray[np.int64]) -> ProblemBatch:
        """Some of the problems; the rows are shared with this batch, not copied."""
        index = np.asarray(problems, np.int64)

        def of_rows(rows: Rows) -> Rows:
            return rows._replace(
                start=np.ascontiguousarray(rows.start[index]),
                column_start=np.ascontiguousarray(rows.column_start[index]),
            )

        shared = ("morph_nuisance", "curved")
        structure = Structure(
            **{
                name: value if name in shared else np.ascontiguousarray(value[index])
                for name, value in self.structure._asdict().items()
            }
        )
        return replace(
            self,
            structure=structure,
            rows=of_rows(self.rows),
            events=None if self.events is None else of_rows(self.events),
            events_per_unit=self.events_per_unit[index],
            labels=tuple(self.labels[i] for i in index),
            masses=self.masses[index],
        )

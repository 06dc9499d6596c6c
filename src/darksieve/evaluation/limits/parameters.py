"""Parameters of a batch: bounds, constraints, and start values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from darksieve.evaluation.limits.assembly import Entry, Layout, Morphs
from darksieve.evaluation.limits.components import KnownBackground, PolynomialBackground, TemplateBackground
from darksieve.evaluation.limits.document import Background, Nuisance
from darksieve.evaluation.limits.polynomials import CHEBYSHEV
from darksieve.evaluation.limits.problem import LINEAR, LOG_NORMAL, Floats, Rows, Structure

STEEPEST = 60.0  # bound of a slope, in units of the half window
LARGEST_PULL = 10.0


def make_structure(
    rows: Rows,
    layout: Layout,
    entries: Sequence[Sequence[Entry | None]],
    nuisances: Sequence[Nuisance],
    index: dict[str, int],
    channels: Sequence[str],
    morphs: Morphs,
    curved: bool,
    blind: bool,
) -> Structure:
    """Parameters with their bounds, constraints and start values (the expectation itself where blind)."""
    n_problems, n_channels = layout.family.shape
    n_nuisances = len(index)
    free = layout.n_linear + 2 * layout.has_slope
    n_blocks = free.sum(axis=1)
    n_parameters = n_blocks + 1 + n_nuisances
    width = int(n_parameters.max())
    start = np.zeros((n_problems, width))
    lower, upper = np.full_like(start, -np.inf), np.full_like(start, np.inf)
    yield_kind = np.zeros((n_problems, n_channels, n_nuisances), np.int64)
    yield_size = np.zeros(yield_kind.shape)
    m = int(layout.n_components.max(initial=0))
    component_kind = np.zeros((n_problems, n_channels, m, n_nuisances), np.int64)
    component_size = np.zeros(component_kind.shape)
    for nuisance in nuisances:
        if nuisance.on == "yield" and nuisance.size is not None:
            for c, channel in enumerate(channels):
                if nuisance.channels is None or channel in nuisance.channels:
                    kind = LOG_NORMAL if nuisance.kind == "log_normal" else LINEAR
                    yield_kind[:, c, index[nuisance.name]] = kind
                    yield_size[:, c, index[nuisance.name]] = nuisance.size
    n_morphs = morphs.nuisances.size
    n_signal = 1 + n_morphs + (n_morphs * (n_morphs + 1) // 2 if curved else 0)
    for p, of_point in enumerate(entries):
        block = 0
        for c, entry in enumerate(of_point):
            if entry is None:
                continue
            for t, kind, size in entry.effects:
                yield_kind[p, c, t] = kind
                yield_size[p, c, t] = size
            for k, component in enumerate(entry.components):
                for t, kind, size in component.effects:
                    component_kind[p, c, k, t] = kind
                    component_size[p, c, k, t] = size
            n_free = int(free[p, c])
            begin, end = int(rows.start[p, c]), int(rows.start[p, c + 1])
            size = end - begin
            origin = int(rows.column_start[p, c]) + n_signal * size
            n_fixed = len(entry.components)
            n_expected = n_fixed - (entry.signal.spurious_signal > 0)  # the last component is zero at θ = 0
            fixed = rows.columns[origin : origin + n_expected * size].sum()
            origin += n_fixed * size
            basis = rows.columns[origin : origin + int(layout.n_linear[p, c]) * size].reshape(-1, size)
            counts = float(rows.counts[begin:end].sum())
            expected = max(counts - fixed, 0.05 * counts, 1e-3)
            values = _start_values(entry.background, basis, expected, blind, layout.window[p, c])
            start[p, block : block + n_free] = values
            if layout.family[p, c] != CHEBYSHEV:
                lower[p, block : block + n_free] = 0.0
            if layout.has_slope[p, c] == 1:
                lower[p, block + 1], upper[p, block + 1] = -STEEPEST, STEEPEST
            block += n_free
        shared = slice(block + 1, block + 1 + n_nuisances)
        lower[p, shared], upper[p, shared] = -LARGEST_PULL, LARGEST_PULL
        for t in range(n_nuisances):
            linear = [
                *yield_size[p, yield_kind[p, :, t] == LINEAR, t],
                *component_size[p, component_kind[p, :, :, t] == LINEAR, t],
            ]
            if linear and max(linear) > 0:  # a factor 1 + size θ stays positive
                lower[p, block + 1 + t] = max(-LARGEST_PULL, -0.999 / max(linear))
            if linear and min(linear) < 0:
                upper[p, block + 1 + t] = min(LARGEST_PULL, -0.999 / min(linear))
    return Structure(
        np.ascontiguousarray(layout.n_linear),
        layout.has_slope,
        layout.n_components,
        yield_kind,
        yield_size,
        component_kind,
        component_size,
        morphs.nuisances,
        np.array([int(curved)]),
        n_parameters.astype(np.int64),
        start,
        lower,
        upper,
        np.zeros((n_problems, n_nuisances)),
    )


def _start_values(
    background: Background,
    basis: Floats,
    expected: float,
    blind: bool,
    window: Floats,
) -> Floats:
    if isinstance(background, TemplateBackground | KnownBackground):
        return np.ones(basis.shape[0])
    if blind:
        expected = float(background.yield_ or 0.0)
    if isinstance(background, PolynomialBackground):
        if background.family == "chebyshev":
            shape = (
                np.array([1.0, *(background.coefficients or ())]) if blind else np.eye(1, basis.shape[0])[0]
            )
        else:
            shape = (
                np.array(background.coefficients)
                if blind and background.coefficients
                else np.ones(len(basis))
            )
        return expected * shape / float((shape @ basis).sum())
    steepness = 0.0
    if blind and background.coefficients:
        if background.family == "power":
            steepness = (background.coefficients[0] + 1.0) * 0.5 * math.log(window[1] / window[0])
        else:
            steepness = background.coefficients[0] * 0.5 * float(window[1] - window[0])
    return np.array([expected, steepness])

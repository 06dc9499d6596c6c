"""The background under each hypothesis: fits of simulated spectra in all windows of a scan at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls
from scipy.special import betainc

from darksieve.errors import InputError, nearest
from darksieve.evaluation.scan_grid import ScanWindows

Family = Literal["chebyshev", "bernstein", "exponential", "power"]

EVENTS_PER_COEFFICIENT = 10  # effective events in a window for each free coefficient of its polynomial
_ITERATIONS = 12
_POSITIVITY_GRID = np.linspace(-1, 1, 401)  # where the hand-over document demands a positive density
_CHUNK = 512  # windows fitted together: bounds the memory of the padded arrays


@dataclass(frozen=True, eq=False)
class WindowBackgrounds:
    """Expected background of each window, with the meaning that the hand-over document gives the numbers.

    Attributes:
        family: Function that was fitted.
        order: Of the polynomials; 1 for the functions with one slope.
        yields: Expected events in the kept bins of each window, shape (n,).
        coefficients: Shape (n, n_coefficients). Chebyshev: density ∝ 1 + sum c_j T_j on the window mapped to
            [-1, 1]. Bernstein: all coefficients, >= 0. Exponential and power: the slope or the exponent.
        chi2: Against the simulation, shape (n,).
        n_degrees: Degrees of freedom that go with it, shape (n,).
        effective_events: (sum w)^2 / sum w^2 of the simulation in the kept bins, shape (n,).
        constrained: Windows whose polynomial is held positive or, with few events, to a lower order,
            shape (n,).
    """

    family: Family
    order: int
    yields: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    chi2: NDArray[np.float64]
    n_degrees: NDArray[np.int64]
    effective_events: NDArray[np.float64]
    constrained: NDArray[np.bool_]


def fit_windows(
    sums: ArrayLike, squares: ArrayLike, windows: ScanWindows, *, family: Family = "chebyshev", order: int = 3
) -> WindowBackgrounds:
    """Fit the simulated spectrum in every window by Poisson maximum likelihood of its effective counts.

    Args:
        sums: Sums of weights per bin of ``windows.edges``, >= 0, shape (n_bins,).
        squares: Sums of squared weights per bin, shape (n_bins,).
        windows: The windows of the scan.
        family: Function to fit.
        order: Order of the polynomials; ignored by the functions with one slope.

    Raises:
        InputError: If the family is unknown, or a power law meets a window that reaches zero.
        ValueError: If sums or squares do not fit the edges, or are negative or not finite.
    """
    if family not in get_args(Family):
        known = get_args(Family)
        raise InputError(
            f"unknown background family {family!r}{nearest(family, known)}; known: {', '.join(known)}"
        )
    sums, squares = np.asarray(sums, float), np.asarray(squares, float)
    n_bins = len(windows.edges) - 1
    if sums.shape != (n_bins,) or squares.shape != (n_bins,):
        raise ValueError(f"{sums.shape} sums and {squares.shape} squares for {n_bins} bins")
    if not (
        np.isfinite(sums).all() and (sums >= 0).all() and np.isfinite(squares).all() and (squares >= 0).all()
    ):
        raise ValueError("sums of weights and of their squares must be finite and not negative")
    if family == "power" and (windows.low <= 0).any():
        i = int(np.argmax(windows.low <= 0))
        raise InputError(
            f"a power law needs windows above zero, but that of {windows.masses[i]:.4g} GeV starts at"
            f" {windows.low[i]:.4g}; use another family or a smaller window_sigma"
        )
    n = len(windows.masses)
    one_slope = family in ("exponential", "power")
    n_coefficients = 1 if one_slope else order + (family == "bernstein")
    out = WindowBackgrounds(
        family=family,
        order=1 if one_slope else order,
        yields=np.zeros(n),
        coefficients=np.zeros((n, n_coefficients)),
        chi2=np.zeros(n),
        n_degrees=np.zeros(n, np.int64),
        effective_events=np.zeros(n),
        constrained=np.zeros(n, bool),
    )
    all_bins, all_kept = windows.padded()
    for start in range(0, n, _CHUNK):
        rows = slice(start, start + _CHUNK)
        bins, kept = all_bins[rows], all_kept[rows]
        weights = np.where(kept, sums[bins], 0.0)
        squared = np.where(kept, squares[bins], 0.0)
        total, total_squared = weights.sum(1), squared.sum(1)
        # weight of a typical event: sums over it are counts whose variance is their mean
        scale = np.divide(total_squared, total, out=np.ones(len(total)), where=total > 0)
        counts = weights / scale[:, None]
        low, high = windows.edges[bins], windows.edges[bins + 1]
        if one_slope:
            mean, coefficients = _fit_one_slope(counts, kept, low, high, family)
            constrained = np.zeros(len(counts), bool)
        else:
            u_low, u_high = (
                2 * (e - windows.low[rows, None]) / (windows.high - windows.low)[rows, None] - 1
                for e in (low, high)
            )
            mean, coefficients, constrained = _fit_polynomial(counts, kept, u_low, u_high, family, order)
        out.yields[rows] = total
        out.coefficients[rows] = coefficients
        out.effective_events[rows] = np.divide(
            total**2, total_squared, out=np.zeros(len(total)), where=total_squared > 0
        )
        shown = kept & (mean >= 1)
        out.chi2[rows] = np.sum(np.where(shown, (counts - mean) ** 2 / np.where(shown, mean, 1), 0), axis=1)
        out.n_degrees[rows] = np.maximum(shown.sum(1) - (2 if one_slope else order + 1), 0)
        out.constrained[rows] = constrained
    return out


def expected_counts(backgrounds: WindowBackgrounds, windows: ScanWindows, i: int) -> NDArray[np.float64]:
    """Expected events in each bin of window i, the kept ones of which sum to the yield."""
    bins = slice(windows.first[i], windows.last[i])
    edges = windows.edges[windows.first[i] : windows.last[i] + 1]
    c = backgrounds.coefficients[i]
    if backgrounds.family == "exponential":
        shape = np.diff(edges) * np.exp(c[0] * ((edges[1:] + edges[:-1]) / 2 - edges.mean()))
    elif backgrounds.family == "power":
        shape = np.diff(edges) * ((edges[1:] + edges[:-1]) / 2 / edges.mean()) ** c[0]
    else:
        u = 2 * (edges - edges[0]) / (edges[-1] - edges[0]) - 1
        basis = _bin_integrals(u[None, :-1], u[None, 1:], backgrounds.family, backgrounds.order)[0]
        shape = basis @ (c if backgrounds.family == "bernstein" else np.concatenate([[1.0], c]))
    kept = windows.usable[bins]
    return shape * backgrounds.yields[i] / shape[kept].sum()


def _fit_polynomial(
    counts: NDArray, kept: NDArray, u_low: NDArray, u_high: NDArray, family: Family, order: int
) -> tuple[NDArray, NDArray, NDArray]:
    """Means, coefficients in the document's meaning, and where they are constrained."""
    # fitted in the Chebyshev basis, which is well conditioned, whatever the family
    design = _bin_integrals(u_low, u_high, "chebyshev", order) * kept[..., None]
    total = counts.sum(1)
    n_kept = np.maximum(kept.sum(1), 1)
    floor = np.maximum(total / n_kept * 0.02, 1e-9)[:, None]
    mean = np.where(kept, np.maximum((total / n_kept)[:, None], floor), 1.0)
    # each coefficient beyond the first needs its share of events; the others stay zero
    used = np.arange(order + 1) <= np.maximum(total[:, None] // EVENTS_PER_COEFFICIENT - 1, 0)
    ridge = 1e-12 * np.eye(order + 1)
    beta = np.zeros((len(counts), order + 1))
    for _ in range(_ITERATIONS):
        weighted = design / mean[..., None]
        normal = np.einsum("wbj,wbk->wjk", weighted, design, optimize=True)
        right = np.einsum("wbj,wb->wj", weighted, counts, optimize=True)
        normal = normal + ridge * np.maximum(np.trace(normal, axis1=1, axis2=2), 1e-30)[:, None, None]
        normal = np.where(used[:, :, None] & used[:, None, :], normal, np.eye(order + 1))
        right = np.where(used, right, 0.0)
        beta = np.linalg.solve(normal, right[..., None])[..., 0]
        new = np.where(kept, np.maximum(np.einsum("wbj,wj->wb", design, beta, optimize=True), floor), 1.0)
        done = np.allclose(new, mean, rtol=1e-7, atol=0)
        mean = new
        if done:
            break
    grid = np.polynomial.chebyshev.chebvander(_POSITIVITY_GRID, order)
    to_bernstein = np.linalg.inv(_bernstein_to_chebyshev(order))
    if family == "bernstein":
        constrained = ((beta @ to_bernstein.T) < 0).any(1)
    else:
        constrained = (beta @ grid.T).min(1) <= 1e-6 * np.abs(beta[:, 0])
    constrained |= (total <= 0) | ~used[:, -1]
    for i in np.flatnonzero(constrained):
        if total[i] > 0:
            n_used = int(used[i].sum())
            beta[i] = 0.0
            beta[i, :n_used], mean[i] = _fit_positive(counts[i], kept[i], u_low[i], u_high[i], n_used - 1)
        else:
            beta[i], mean[i] = np.eye(order + 1)[0], 0.0
    mean = np.where(kept, mean, 0.0)
    if family == "bernstein":
        coefficients = np.maximum(beta @ to_bernstein.T, 0.0)
        return mean, coefficients / coefficients.mean(1, keepdims=True), constrained
    return mean, beta[:, 1:] / beta[:, :1], constrained


def _fit_positive(
    counts: NDArray, kept: NDArray, u_low: NDArray, u_high: NDArray, order: int
) -> tuple[NDArray, NDArray]:
    """One window with a polynomial of no negative Bernstein coefficient, hence positive everywhere."""
    design = _bin_integrals(u_low[None, kept], u_high[None, kept], "bernstein", order)[0]
    n = counts[kept]
    floor = n.mean() * 0.02
    mean = np.full(len(n), n.mean())
    for _ in range(4 * _ITERATIONS):
        root = 1 / np.sqrt(mean)
        beta, _ = nnls(design * root[:, None], n * root)
        new = np.maximum(design @ beta, floor)
        if np.allclose(new, mean, rtol=1e-6, atol=0):
            break
        mean = (new + mean) / 2  # damped: the active set may flip otherwise
    full = np.zeros(len(counts))
    full[kept] = design @ beta
    # strictly positive for the reader of the document, who checks it on a grid
    return _bernstein_to_chebyshev(order) @ np.maximum(beta, 1e-6 * beta.max()), full


def _fit_one_slope(
    counts: NDArray, kept: NDArray, low: NDArray, high: NDArray, family: Family
) -> tuple[NDArray, NDArray]:
    """Means and slopes of densities exp(a + c x) or exp(a + c log x), by Newton with a logarithmic link."""
    middle, width = (low + high) / 2, high - low
    x = np.log(middle) if family == "power" else middle
    n_kept = np.maximum(kept.sum(1, keepdims=True), 1)
    centre = np.sum(x * kept, 1, keepdims=True) / n_kept
    spread = np.sqrt(np.sum((x - centre) ** 2 * kept, 1, keepdims=True) / n_kept) + 1e-30
    z = (x - centre) / spread
    total = counts.sum(1)
    covered = np.sum(width * kept, 1)
    a = np.log(np.maximum(total, 1e-9) / np.maximum(covered, 1e-30))
    c = np.zeros(len(counts))
    mean = np.zeros_like(counts)
    for _ in range(4 * _ITERATIONS):
        mean = np.where(kept, width * np.exp(np.clip(a[:, None] + c[:, None] * z, -300, 300)), 0.0)
        g0, g1 = (counts - mean).sum(1), ((counts - mean) * z).sum(1)
        h00, h01, h11 = mean.sum(1), (mean * z).sum(1), (mean * z * z).sum(1)
        determinant = np.maximum(h00 * h11 - h01**2, 1e-30)
        step_a = np.clip((h11 * g0 - h01 * g1) / determinant, -1, 1)
        step_c = np.clip((h00 * g1 - h01 * g0) / determinant, -1, 1)
        usable = total > 0
        a, c = np.where(usable, a + step_a, a), np.where(usable, np.clip(c + step_c, -30, 30), 0.0)
        if np.max(np.abs(step_a[usable]), initial=0) + np.max(np.abs(step_c[usable]), initial=0) < 1e-9:
            break
    return mean, (c / spread[:, 0])[:, None]


def _bin_integrals(u_low: NDArray, u_high: NDArray, family: Family, order: int) -> NDArray[np.float64]:
    """Integrals of each basis function over each bin in u, shape (..., n_bins, order + 1)."""

    def primitive(u: NDArray) -> NDArray:
        if family == "bernstein":
            t = np.clip((u + 1) / 2, 0, 1)
            return np.stack(
                [2 * betainc(j + 1, order - j + 1, t) / (order + 1) for j in range(order + 1)], axis=-1
            )
        T = np.polynomial.chebyshev.chebvander(u, order + 1)
        columns = [u, u**2 / 2]
        for j in range(2, order + 1):
            columns.append(T[..., j + 1] / (2 * (j + 1)) - T[..., j - 1] / (2 * (j - 1)))
        return np.stack(columns[: order + 1], axis=-1)

    return primitive(u_high) - primitive(u_low)


def _bernstein_to_chebyshev(order: int) -> NDArray[np.float64]:
    """Matrix that turns Bernstein into Chebyshev coefficients of the same polynomial."""
    from scipy.special import comb

    nodes = np.cos(np.pi * (np.arange(order + 1) + 0.5) / (order + 1))
    t = (nodes + 1) / 2
    values = np.stack([comb(order, j) * t**j * (1 - t) ** (order - j) for j in range(order + 1)], axis=-1)
    return np.asarray(np.linalg.solve(np.polynomial.chebyshev.chebvander(nodes, order), values))

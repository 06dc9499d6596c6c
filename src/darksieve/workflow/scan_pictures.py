"""Pictures of a run's scan: excesses, once unblinded, and the spectra that are fitted."""

from __future__ import annotations

import numpy as np

from darksieve.evaluation.limits.data import BinnedData
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.plots import fits, p_values, spectrum
from darksieve.evaluation.signal_shape import position_of
from darksieve.workflow.channels import observable_of
from darksieve.workflow.pictures import AXIS, Pictures

MAX_SPECTRUM_BINS = 400


def draw_excesses(pictures: Pictures) -> None:
    """Local p-values, fitted strengths and their pulls; nothing while blind."""
    if pictures.blind:
        return
    curve = pictures.curve
    fitted = np.isfinite(curve.masses) & np.isfinite(curve.values("p0"))
    if not fitted.any():
        return
    masses = curve.masses[fitted]
    found = curve.global_
    global_p = []
    if found is not None:
        global_p.append(p_values.GlobalPValue(found.p_global, found.p_global_error, found.method))
        if found.gross_vitells is not None and found.method != "gross_vitells":
            bound = found.gross_vitells
            global_p.append(p_values.GlobalPValue(bound.p_global, bound.p_global_error, "Gross–Vitells"))
    pictures.keep(
        "p_values",
        p_values.draw_p_values(
            masses,
            curve.values("p0")[fitted],
            stamp=pictures.stamp(),
            axis=pictures.axis,
            global_p_values=global_p,
        ),
    )
    errors = np.array([p.best_fit_error or (None, None) for p in curve.points], dtype=float)[fitted]
    name, unit = pictures.config.linear_parameter
    injected = (
        None if pictures.injected is None else (pictures.injected["mass"], pictures.injected["strength"])
    )
    pictures.keep(
        "best_fit",
        fits.draw_best_fit(
            masses,
            curve.values("best_fit")[fitted],
            errors,
            y_label=f"Fitted {AXIS.get(name, name)}" + ("" if unit == "1" else f" [{unit}]"),
            stamp=pictures.stamp(),
            injected=injected,
            axis=pictures.axis,
        ),
    )

    best = curve.values("best_fit")[fitted]
    with np.errstate(divide="ignore", invalid="ignore"):
        pulls = np.where(best > 0, -best / errors[:, 0], best / errors[:, 1])
    pulls[~np.isfinite(pulls)] = np.nan
    if np.isfinite(pulls).any():
        pictures.keep(
            "pulls",
            fits.draw_pulls(
                masses,
                pulls,
                stamp=pictures.stamp(),
                pull_label="Fitted strength over its error",
                axis=pictures.axis,
            ),
        )
    if found is not None and found.label is not None:
        _draw_impacts(pictures, found.label)


def _draw_impacts(pictures: Pictures, label: str) -> None:
    """Impact of each nuisance where the largest excess is."""
    from darksieve.evaluation.limits.impacts import impacts_at

    model = SearchModel.load(pictures.context.run / "search.json")
    if not model.nuisances:
        return
    (found,) = impacts_at(model, [label])
    usable = np.flatnonzero(np.isfinite(found.impacts).all(axis=1))
    if found.mass is None or not len(usable):
        return
    drawing = fits.draw_impacts(
        [found.names[i] for i in usable],
        found.pulls[usable],
        found.pull_errors[usable],
        found.impacts[usable],
        mass=found.mass,
        unit=pictures.config.linear_parameter[1],
        stamp=pictures.stamp(),
    )
    pictures.keep("impacts", drawing)


def draw_spectra(pictures: Pictures) -> None:
    """Expected spectrum of each channel of the fit; with the data once unblinded."""
    from darksieve.workflow.scan_inputs import scan_inputs

    model = SearchModel.load(pictures.context.run / "search.json")
    counts = {
        channel.name: np.asarray(channel.data.counts)
        for channel in model.channels
        if isinstance(channel.data, BinnedData) and channel.data.counts is not None
    }
    _, inputs = scan_inputs(pictures.context)
    for given in inputs:
        candidates = given.candidates
        rows = candidates.label == 0
        names = list(
            dict.fromkeys(
                pictures.config.process_of(n)
                for n, s in pictures.config.samples.items()
                if s.role == "background"
            )
        )
        process = pictures.processes(candidates.sample)
        edges = given.common.edges
        observable = observable_of(pictures.context, given.name)
        unit = "GeV²" if position_of(observable) == "mass_squared" else "GeV"
        merge = int(np.ceil((len(edges) - 1) / MAX_SPECTRUM_BINS))
        shown = edges[::merge]
        for c, channel in enumerate(given.channels, start=1):
            own = rows & (candidates.category == c)
            expected, squares = {}, np.zeros(len(shown) - 1)
            for name in names:
                of_process = own & (process == name)
                weight = candidates.weight[of_process]
                values = candidates.observable[of_process]
                expected[name] = np.histogram(values, shown, weights=weight)[0]
                squares += np.histogram(values, shown, weights=weight**2)[0]
            order = sorted(expected, key=lambda n: float(expected[n].sum()))
            data = None
            if not pictures.blind and channel.name in counts:
                data = np.add.reduceat(counts[channel.name], np.arange(0, len(edges) - 1, merge))[
                    : len(shown) - 1
                ]
            drawing = spectrum.draw_spectrum(
                shown,
                {name: expected[name] for name in order},
                stamp=pictures.stamp(),
                data=data,
                data_label=(pictures.data_label or "data").capitalize(),
                expected_error=np.sqrt(squares),
                category=channel.name,
                vetoes=pictures.axis.vetoes,
                logarithmic=True,
                observable_label=f"{observable} [{unit}]",
                observable=observable,
            )
            pictures.keep(f"spectrum_{channel.name}", drawing)

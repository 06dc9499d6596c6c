"""The pictures of a run, drawn from its files alone; plots never fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.couplings import ranges_where
from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.evaluation.limits.document import BinnedData, SearchModel
from darksieve.evaluation.plots import (
    brazil_band,
    comparison,
    fits,
    p_values,
    scores,
    spectrum,
    training,
)
from darksieve.evaluation.plots.axes import name_particle
from darksieve.evaluation.plots.style import Drawing, SavedFigure, Stamp
from darksieve.evaluation.published import (
    PublishedComparison,
    PublishedLimits,
    compare_with_published,
    published_limits,
)
from darksieve.evaluation.separation import auc_by_mass, roc_curve
from darksieve.evaluation.signal_shape import position_of
from darksieve.models.scores import Scores
from darksieve.training.history import TrainingHistory
from darksieve.workflow.cascade import bundle_path
from darksieve.workflow.channels import observable_of
from darksieve.workflow.context import Context
from darksieve.workflow.fits import fits_of
from darksieve.workflow.interpreting import COUPLING_UNIT, converted, coupling_of, flight_mm
from darksieve.workflow.point_pictures import (
    draw_channel_sculpting,
    draw_choices,
    draw_working_points,
)

N_ROC_MASSES = 4
MAX_SPECTRUM_BINS = 400
AXIS = {
    "cross_section": "cross section",
    "branching_fraction": "branching fraction",
    "signal events": "signal events",
}


class Pictures:
    """Draws and saves the pictures of one run under ``figures/``."""

    def __init__(self, context: Context, facts: Mapping[str, Any]) -> None:
        self.context = context
        self.config = context.config
        self.curve = LimitCurve.load(context.run / "limits.json")
        self.blind = bool(facts["blind"])
        self.data_label = facts["label"]
        self.injected = facts["injected"]
        simulated = any(sample.simulate is not None for sample in self.config.samples.values())
        self.simulation_note = "toy simulation" if simulated else ""
        self.note = self.simulation_note
        if self.data_label not in (None, "data"):
            self.note = ", ".join(filter(None, [self.note, str(self.data_label)]))
        self.saved: dict[str, SavedFigure] = {}
        self.vetoes = [(low, high) for low, high in self.config.scan.vetoes]

    def stamp(self, *, shows_data: bool = True, luminosity: bool = True) -> Stamp:
        """What stands above a picture; one of simulation alone is neither blind nor of pseudo-data."""
        return Stamp(
            self.config.search,
            self.config.luminosity_fb if luminosity else None,
            self.note if shows_data else self.simulation_note,
            self.blind and shows_data,
        )

    def keep(self, name: str, drawing: Drawing) -> SavedFigure:
        """Save a picture as PNG, PDF and CSV."""
        name_particle(drawing.figure, self.config.interpretation.particle)
        self.saved[name] = drawing.save(self.context.run / "figures" / name)
        return self.saved[name]

    @property
    def with_limits(self) -> NDArray[np.bool_]:
        """Points of the scan that have a mass and an expected limit."""
        return np.isfinite(self.curve.masses) & np.isfinite(self.curve.expected())

    def limits(self) -> PublishedComparison | None:
        """Brazil bands of the parameter and of the coupling, and the comparison with what is published."""
        curve, config = self.curve, self.config
        good = self.with_limits
        if not good.any():
            return None
        masses = curve.masses[good]
        bands = np.stack([curve.expected(level)[good] for level in range(-2, 3)])
        observed = None if self.blind else curve.values("observed")[good]
        name, unit = config.linear_parameter
        published = config.interpretation.published
        known = None if published is None else published_limits(published)
        points = [known] if known is not None and known.parameter == name else []
        label = AXIS.get(name, name) + ("" if unit == "1" else f" [{unit}]")
        if fits_of(config)[0].reference is not None:
            label += f" of B → {fits_of(config)[0].reference} a"
        self.keep(
            "limits",
            brazil_band.draw_limits(
                masses,
                bands,
                observed=observed,
                confidence_level=config.confidence_level,
                y_label=f"Upper limit on the {label}",
                unit=unit,
                stamp=self.stamp(),
                vetoes=self.vetoes,
                published=points,
                tails=_tails(curve, good),
            ),
        )
        if config.interpretation.parameter == "g_agammagamma":
            self.keep(
                "coupling",
                brazil_band.draw_g_agammagamma_limits(
                    masses,
                    bands,
                    observed_fb=observed,
                    confidence_level=config.confidence_level,
                    stamp=self.stamp(),
                    sqrt_s=self.context.beams.sqrt_s,
                    vetoes=self.vetoes,
                    published=points,
                    tails_fb=_tails(curve, good),
                ),
            )
        if config.interpretation.parameter == "g_aW":
            self._g_aW(masses, bands, observed, points)
        self._other_fits()
        if not points or abs(points[0].confidence_level - config.confidence_level) > 1e-9:
            return None
        compared = compare_with_published(
            masses,
            bands[2],
            points[0],
            luminosity_fb=config.luminosity_fb,
            confidence_level=config.confidence_level,
        )
        if not (compared.n_scan_points > 0).any():
            return None
        self.keep("published", comparison.draw_comparison(compared, stamp=self.stamp(), vetoes=self.vetoes))
        return compared

    def _g_aW(
        self,
        masses: NDArray[np.float64],
        bands: NDArray[np.float64],
        observed: NDArray[np.float64] | None,
        points: list[PublishedLimits],
    ) -> None:
        """Band of the coupling to W bosons; the range in which the ALP flies too far is marked."""
        config = self.config
        coupling = coupling_of(config, self.context.beams.sqrt_s)
        assert coupling is not None
        bands = np.array([converted(coupling[1], band, masses) for band in bands])
        tails = np.array(
            [converted(coupling[1], end, masses) for end in _tails(self.curve, self.with_limits)]
        )
        flight = flight_mm(config, masses, bands[2])
        prompt_mm = config.interpretation.prompt_mm
        far: list[tuple[float, float]] = []
        if prompt_mm is not None and flight is not None:
            far = ranges_where(masses, np.nan_to_num(flight) > prompt_mm)
        reference = fits_of(config)[0].reference
        own = [one.as_g_aW(reference) for one in points if reference == "K+"]
        folded = " (counted inside)" if config.interpretation.fold_flight else ""
        self.keep(
            "coupling",
            brazil_band.draw_limits(
                masses,
                bands,
                observed=None if observed is None else converted(coupling[1], observed, masses),
                confidence_level=config.confidence_level,
                y_label=f"Upper limit on g_aW [{COUPLING_UNIT}]",
                unit=COUPLING_UNIT,
                stamp=self.stamp(),
                vetoes=self.vetoes,
                published=own,
                tails=tails,
                not_prompt=far,
                not_prompt_text=f"Mean flight above {prompt_mm:g} mm{folded}" if prompt_mm else "",
            ),
        )

    def _other_fits(self) -> None:
        """Bands of the fits of some channels alone."""
        for fit in fits_of(self.config)[1:]:
            path = self.context.run / fit.file_name("limits", ".json")
            if not path.is_file():  # none of its channels has background
                continue
            curve = LimitCurve.load(path)
            good = np.isfinite(curve.masses) & np.isfinite(curve.expected())
            if not good.any():
                continue
            decay = f", {fit.name} alone" if fit.reference is None else f" of B → {fit.reference} a"
            self.keep(
                fit.file_name("limits", ""),
                brazil_band.draw_limits(
                    curve.masses[good],
                    np.stack([curve.expected(level)[good] for level in range(-2, 3)]),
                    observed=None if self.blind else curve.values("observed")[good],
                    confidence_level=self.config.confidence_level,
                    y_label=f"Upper limit on the branching fraction{decay}",
                    unit="1",
                    stamp=self.stamp(),
                    vetoes=self.vetoes,
                    tails=_tails(curve, good),
                ),
            )

    def excesses(self) -> None:
        """Local p-values, fitted strengths and their pulls; nothing while blind."""
        if self.blind:
            return
        curve = self.curve
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
        self.keep(
            "p_values",
            p_values.draw_p_values(
                masses,
                curve.values("p0")[fitted],
                stamp=self.stamp(),
                vetoes=self.vetoes,
                global_p_values=global_p,
            ),
        )
        errors = np.array([p.best_fit_error or (None, None) for p in curve.points], dtype=float)[fitted]
        name, unit = self.config.linear_parameter
        injected = None if self.injected is None else (self.injected["mass"], self.injected["strength"])
        self.keep(
            "best_fit",
            fits.draw_best_fit(
                masses,
                curve.values("best_fit")[fitted],
                errors,
                y_label=f"Fitted {AXIS.get(name, name)}" + ("" if unit == "1" else f" [{unit}]"),
                stamp=self.stamp(),
                injected=injected,
                vetoes=self.vetoes,
            ),
        )

        best = curve.values("best_fit")[fitted]
        with np.errstate(divide="ignore", invalid="ignore"):
            pulls = np.where(best > 0, -best / errors[:, 0], best / errors[:, 1])
        pulls[~np.isfinite(pulls)] = np.nan
        if np.isfinite(pulls).any():
            self.keep(
                "pulls",
                fits.draw_pulls(
                    masses,
                    pulls,
                    stamp=self.stamp(),
                    pull_label="Fitted strength over its error",
                    vetoes=self.vetoes,
                ),
            )
        if found is not None and found.label is not None:
            self._impacts(found.label)

    def _impacts(self, label: str) -> None:
        """Impact of each nuisance where the largest excess is."""
        from darksieve.evaluation.limits.impacts import impacts_at

        model = SearchModel.load(self.context.run / "search.json")
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
            unit=self.config.linear_parameter[1],
            stamp=self.stamp(),
        )
        self.keep("impacts", drawing)

    def spectra(self) -> None:
        """Expected spectrum of each channel of the fit; with the data once unblinded."""
        from darksieve.workflow.scan_inputs import scan_inputs

        model = SearchModel.load(self.context.run / "search.json")
        counts = {
            channel.name: np.asarray(channel.data.counts)
            for channel in model.channels
            if isinstance(channel.data, BinnedData) and channel.data.counts is not None
        }
        _, inputs = scan_inputs(self.context)
        for given in inputs:
            candidates = given.candidates
            rows = candidates.label == 0
            names = list(
                dict.fromkeys(
                    self.config.process_of(n)
                    for n, s in self.config.samples.items()
                    if s.role == "background"
                )
            )
            process = self._processes(candidates.sample)
            edges = given.common.edges
            observable = observable_of(self.context, given.name)
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
                if not self.blind and channel.name in counts:
                    data = np.add.reduceat(counts[channel.name], np.arange(0, len(edges) - 1, merge))[
                        : len(shown) - 1
                    ]
                drawing = spectrum.draw_spectrum(
                    shown,
                    {name: expected[name] for name in order},
                    stamp=self.stamp(),
                    data=data,
                    data_label=(self.data_label or "data").capitalize(),
                    expected_error=np.sqrt(squares),
                    category=channel.name,
                    vetoes=self.vetoes,
                    logarithmic=True,
                    observable_label=f"{observable} [{unit}]",
                    observable=observable,
                )
                self.keep(f"spectrum_{channel.name}", drawing)

    def classifiers(self) -> None:
        """Scores by process, ROC by mass and the training's losses."""
        for classifier in self.config.classifiers:
            table = Scores.load(self.context.run / "scores" / f"{classifier.name}.parquet")
            self._scores(classifier.name, table)
            self._roc(classifier.name, table)
            history = TrainingHistory.load(bundle_path(self.context, classifier) / "training.json")
            folds = {
                fold.fold: training.FoldHistory(
                    validation=[e.get("validation_loss", np.nan) for e in fold.epochs],
                    training=[e["train_loss"] for e in fold.epochs]
                    if "train_loss" in fold.epochs[0]
                    else None,
                )
                for fold in history.folds
                if fold.epochs
            }
            if folds:
                drawing = training.draw_training(
                    folds,
                    stamp=self.stamp(shows_data=False, luminosity=False),
                    epoch_label="Tree" if classifier.model == "bdt" else "Epoch",
                )
                self.keep(f"training_{classifier.name}", drawing)

    def _processes(self, samples: NDArray[np.str_]) -> NDArray[np.str_]:
        """Process of each row from its sample, shape (n,)."""
        names, of_name = np.unique(samples, return_inverse=True)
        return np.array([self.config.process_of(str(name)) for name in names] or [""])[of_name]

    def _scores(self, name: str, table: Scores) -> None:
        by_process = {}
        signals = []
        process = self._processes(table.sample)
        roles = {self.config.process_of(n): given.role for n, given in self.config.samples.items()}
        for one, role in roles.items():
            rows = (process == one) & (table.is_signal | table.is_background)
            if role in ("signal", "background") and rows.any():
                by_process[one] = (table.score[rows], table.weight[rows])
                if role == "signal":
                    signals.append(one)
        stamp = self.stamp(shows_data=False, luminosity=False)
        self.keep(f"scores_{name}", scores.draw_scores(by_process, stamp=stamp, signals=signals))

    def _roc(self, name: str, table: Scores) -> None:
        masses, half_width = self.roc_masses(table)
        observable = table.observable
        if position_of(self.config.scan.observable) == "mass_squared":
            observable = np.sqrt(np.maximum(observable, 0))
        curves: dict[float | str, tuple[ArrayLike, ArrayLike]] = {}
        aucs: dict[float | str, float] = {}
        measured = auc_by_mass(
            table.score,
            table.label,
            observable,
            table.mass,
            table.weight,
            None,
            masses=masses,
            half_width=half_width,
            n_bootstrap=0,
        )
        for mass, half, auc in zip(masses, half_width, measured, strict=True):
            inside = np.abs(observable - mass) < half
            inside &= table.is_background | (table.is_signal & (np.abs(table.mass - mass) < half))
            if not np.isfinite(auc.value):
                continue
            curve = roc_curve(table.score[inside], table.label[inside], table.weight[inside])
            thin = np.unique(np.linspace(0, len(curve.signal_efficiency) - 1, 400).astype(int))
            key = float(np.round(mass, 3))
            curves[key] = (curve.signal_efficiency[thin], curve.background_efficiency[thin])
            aucs[key] = auc.value
        if curves:
            stamp = self.stamp(shows_data=False, luminosity=False)
            self.keep(f"roc_{name}", scores.draw_roc(curves, stamp=stamp, auc=aucs))

    def roc_masses(self, table: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Masses at which separation is shown, and half widths of windows that hold enough background."""
        low, high = self.config.scan.range
        masses = low + (high - low) * (np.arange(N_ROC_MASSES) + 0.5) / N_ROC_MASSES
        return masses, np.full(N_ROC_MASSES, 0.02 * (high - low))

    def working_points(self, document: Mapping[str, Any]) -> None:
        """Choices of each channel and what they reach against mass."""
        stamp = self.stamp(shows_data=False)
        for channel in self.config.channels:
            drawn = draw_working_points(document, channel, stamp, self.vetoes)
            drawn |= draw_choices(document, channel, stamp, self.vetoes)
            drawn |= draw_channel_sculpting(document, channel, stamp, self.vetoes)
            for name, drawing in drawn.items():
                self.keep(f"{name}_{channel}", drawing)


def _tails(curve: LimitCurve, good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Lowest and highest median among the tail families at some points, NaN where unknown, shape (2, n)."""
    nothing = (np.nan, np.nan)
    ends = [point.tail_expected or nothing for point in curve.points]
    return np.array(ends, np.float64).reshape(-1, 2)[good].T

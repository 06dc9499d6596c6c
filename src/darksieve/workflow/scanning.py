"""The scan: from categories to the search documents and their limits."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from darksieve.atomic import write_json
from darksieve.evaluation.full_limit import FullLimit
from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.pseudo_data import PseudoData
from darksieve.progress import bar
from darksieve.run_folder import StageRecord
from darksieve.workflow.categorising import load_points
from darksieve.workflow.channels import background_choice, uncertainties_of
from darksieve.workflow.context import Context
from darksieve.workflow.correcting import identity_of_variations, load_corrections
from darksieve.workflow.fit_document import channels_of, document_of_fit
from darksieve.workflow.fits import Fit, fits_of
from darksieve.workflow.interpreting import interpret
from darksieve.workflow.mixing import interpret_mixing
from darksieve.workflow.observing import DATA_SCORES, PSEUDO_DATA, draws_events, observe, simulate_pseudo_data
from darksieve.workflow.samples import identity_of_inputs
from darksieve.workflow.scan_inputs import ScanInputs, scan_inputs
from darksieve.workflow.scoring import Simulation
from darksieve.workflow.tail_quoting import tail_spread_of, tail_summary, with_tails

log = logging.getLogger("darksieve")

LIMIT_FILES = (("limits", ".json"), ("limits", ".csv"))


def scan(context: Context, simulation: Simulation) -> None:
    """Write the search document and the limits: expected ones, and observed ones once unblinded."""
    config = context.config
    data_samples = [name for name, sample in config.samples.items() if sample.role == "data"]
    if context.unblind and not data_samples and draws_events(context):
        simulate_pseudo_data(context)
    depends_on = [
        context.key("optimise"),
        config.scan.model_dump(mode="json"),
        config.confidence_level,
        config.interpretation.model_dump(
            mode="json", include={"parameter", "also", "prompt_mm", "fold_flight", "dark_sector"}
        ),
        {name: [channel.hadron, channel.final_state] for name, channel in config.channels.items()},
        {
            name: sample.model_dump(mode="json", include={"peaking", "lifetime"})
            for name, sample in config.samples.items()
        },
        config.seed,
        context.unblind,
        identity_of_variations(load_corrections(config)),
    ]
    if context.unblind:
        depends_on.append(config.pseudo_data.model_dump(mode="json"))
        depends_on.append(identity_of_inputs(context, data_samples))
        if not data_samples and draws_events(context):
            depends_on.append(context.key(f"simulate.{PSEUDO_DATA}"))

    def work(record: StageRecord) -> str:
        masses, inputs = scan_inputs(context)
        observed: PseudoData | None = None
        if context.unblind:
            observed = observe(context, simulation, inputs, data_samples, record)
        else:  # of an earlier run that looked
            for path in (context.run / "scores").glob(f"{DATA_SCORES}*.parquet"):
                path.unlink()
        _remove_other_fits(context)
        counts = None if observed is None else observed.counts
        present = {given.name for given in inputs}
        fits = [fit for fit in fits_of(config) if present & set(fit.channels)]
        curves = {fit.name: _fit(context, fit, inputs, counts, masses, record) for fit in fits}
        curve = curves[None]
        if config.interpretation.parameter == "sin_theta":
            interpretation = interpret_mixing(context, inputs, curves)
        else:
            interpretation = interpret(config, curve, context.beams.sqrt_s)
        write_json(context.run / "interpretation.json", interpretation)
        label = None if observed is None else observed.label
        injection = None
        if observed is not None and observed.injection is not None:
            injection = {"mass": observed.injection.mass, "strength": observed.injection.strength}
        write_json(
            context.run / "data.json", {"blind": observed is None, "label": label, "injected": injection}
        )
        record.wrote(context.run / "interpretation.json", context.run / "data.json")
        return _summary(curve)

    context.stage("scan", depends_on, work)


def _fit(
    context: Context,
    fit: Fit,
    inputs: list[ScanInputs],
    counts: Mapping[str, NDArray] | None,
    masses: NDArray[np.float64],
    record: StageRecord,
) -> LimitCurve:
    """Write the document and the limits of one fit."""
    config = context.config
    model = document_of_fit(context, fit, inputs, masses, counts)
    with bar("scan" if fit.name is None else f"scan {fit.name}") as progress:
        curve = answer_documents(
            [model],
            confidence_level=config.confidence_level,
            method=config.scan.method,
            n_toys=config.scan.toys,
            seed=config.seed,
            progress=progress,
        )
    points = load_points(context)
    if points and config.scan.counting is None:  # counts have no tail that the fit leans on
        pairs = channels_of(fit, inputs)
        full = FullLimit(
            confidence_level=config.confidence_level,
            background=background_choice(config.scan.background),
            uncertainties=uncertainties_of(config),
        )
        spread = tail_spread_of(fit.select(config, pairs), points, masses, full.shortcut())
        curve = with_tails(curve, masses, spread)
    if config.scan.ctau_cm is None or fit.ctau_cm == config.scan.ctau_cm[0]:  # the others lack the same
        _warn_of_empty_windows(fit, model)
    paths = [context.run / fit.file_name(*name) for name in (("search", ".json"), *LIMIT_FILES)]
    model.save(paths[0])
    for path in paths[1:]:
        curve.save(path)
    record.wrote(*paths)
    return curve


def _warn_of_empty_windows(fit: Fit, model: SearchModel) -> None:
    """Say which hypotheses no channel can be fitted at."""
    empty = [f"{point.mass:.4g}" for point in model.points if point.status == "no_signal"]
    if empty:
        what = "the fit" if fit.name is None else f"the fit {fit.name}"
        log.warning(
            "%s has no limit at %s GeV: no channel's range, or no bin of a window beside the vetoes, is left",
            what,
            ", ".join(empty) if len(empty) <= 5 else f"{empty[0]} … {empty[-1]} ({len(empty)} masses)",
        )


def _remove_other_fits(context: Context) -> None:
    """Take away what an earlier config's fits of some channels left."""
    for stem, suffix in (("search", ".json"), *LIMIT_FILES):
        for path in context.run.path.glob(f"{stem}_*{suffix}"):
            path.unlink()


def _summary(curve: LimitCurve) -> str:
    states = [point.status for point in curve.points]
    done = sum(point.succeeded for point in curve.points)
    text = f"{done} limits, {states.count('vetoed')} vetoed, {states.count('failed')} failed"
    expected = curve.expected()
    if np.isfinite(expected).any():
        unit = "" if curve.parameter.unit == "1" else f" {curve.parameter.unit}"
        text += f", median expected {np.nanmedian(expected):.3g}{unit}"
    if curve.global_ is not None and curve.global_.mass is not None:
        text += f"; largest excess at {curve.global_.mass:.3f} GeV, global p = {curve.global_.p_global:.2g}"
    return text + tail_summary(curve)

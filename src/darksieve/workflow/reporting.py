"""The report of a run: its pictures, tables and provenance in one page."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from darksieve import __version__
from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.evaluation.report import Cell, Figure, Link, Report, ReportSection, Table, write_report
from darksieve.run_folder import StageRecord
from darksieve.workflow.classifier_pictures import draw_classifiers
from darksieve.workflow.context import Context, facts_of_run
from darksieve.workflow.controls import control_tables, draw_controls
from darksieve.workflow.interpolating import STAGE as INTERPOLATE
from darksieve.workflow.interpolating import interpolation_sections
from darksieve.workflow.lifetime_pictures import PICTURES as LIFETIME_PICTURES
from darksieve.workflow.lifetime_pictures import draw_lifetimes, mixing_section
from darksieve.workflow.limit_pictures import draw_limit_pictures
from darksieve.workflow.peak_report import peak_tables
from darksieve.workflow.pictures import Pictures
from darksieve.workflow.point_pictures import draw_point_pictures
from darksieve.workflow.point_report import PICTURES, working_points_section
from darksieve.workflow.published_report import PICTURE as PUBLISHED_PICTURE
from darksieve.workflow.published_report import published_sections
from darksieve.workflow.scan_pictures import draw_excesses, draw_spectra
from darksieve.workflow.sidebands import sideband_table
from darksieve.workflow.tuning_report import tuning_documents, tuning_tables
from darksieve.workflow.understanding import (
    draw_understanding,
    leakage_tables,
    limit_importance_tables,
    overtraining_tables,
)
from darksieve.workflow.validating import STAGE as VALIDATE
from darksieve.workflow.validating import simulation_sections, validate_simulation
from darksieve.workflow.weighing import tables_of_weights

N_ROWS_OF_LIMITS = 12


def write_run_report(context: Context) -> None:
    """Draw every picture and write ``report.html``, unless both are there with the same inputs."""
    simulated = validate_simulation(context)

    def work(record: StageRecord) -> str:
        facts = facts_of_run(context.run)
        pictures = Pictures(context, facts)
        compared = draw_limit_pictures(pictures)
        draw_excesses(pictures)
        draw_spectra(pictures)
        draw_classifiers(pictures)
        draw_understanding(pictures)
        draw_controls(pictures)
        draw_lifetimes(pictures)
        points = _json(context, "working_points.json")
        draw_point_pictures(pictures, points)
        sections = [
            _summary(context, pictures),
            _samples(context),
            *_controls(context, pictures),
            *_training(context, pictures),
            *interpolation_sections(context, pictures),
            working_points_section(points, _figures(pictures, *PICTURES)),
            _limits(context, pictures),
            *mixing_section(pictures, _figures(pictures, *LIFETIME_PICTURES)),
            *published_sections(context, compared, _figures(pictures, PUBLISHED_PICTURE)),
            *(simulation_sections(context, pictures) if simulated else []),
            _provenance(context),
        ]
        report = Report(
            search=context.config.search,
            process=context.config.scan.observable,
            luminosity_fb=context.config.luminosity_fb,
            confidence_level=context.config.confidence_level,
            blind=pictures.blind,
            sections=sections,
            simulation_note=pictures.note,
            version=__version__,
        )
        path = write_report(report, context.run / "report.html")
        _remove_stale(context, pictures)
        record.wrote(path, context.run / "figures")
        _track(context, pictures)
        return f"{len(pictures.saved)} pictures"

    stages = ["scan", "optimise", "score"]
    stages += [VALIDATE] if simulated else []
    stages += ["understand"] if context.config.classifiers else []
    stages += [INTERPOLATE] if context.config.interpolation is not None else []
    depends_on = [
        context.key(*stages),
        context.config.interpretation.particle,
        context.config.interpretation.published,
        context.config.interpretation.published_range,
        tuning_documents(context.run),
    ]
    context.stage("report", depends_on, work)


def _remove_stale(context: Context, pictures: Pictures) -> None:
    """Take away pictures of an earlier report: of data, where this one is blind, or of another config."""
    for path in (context.run / "figures").glob("*"):
        if path.suffix in (".png", ".pdf", ".csv") and path.stem not in pictures.saved:
            path.unlink()


def _json(context: Context, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((context.run / name).read_text(encoding="utf-8"))
    return content


def _figures(pictures: Pictures, *wanted: tuple[str, str]) -> list[Figure]:
    """The pictures that were drawn, of those wanted; ``name_*`` stands for all that begin so."""
    found = []
    for name, title in wanted:
        prefix = name.removesuffix("*")
        for saved_name, saved in pictures.saved.items():
            if saved_name == name or (name.endswith("*") and saved_name.startswith(prefix)):
                own = f"{title}: {saved_name.removeprefix(prefix)}" if name.endswith("*") else title
                found.append(Figure.from_saved(saved, own, relative_to=pictures.context.run.path))
    return found


def _summary(context: Context, pictures: Pictures) -> ReportSection:
    config, curve = context.config, pictures.curve
    expected = curve.expected()
    unit = "" if curve.parameter.unit == "1" else f" {curve.parameter.unit}"
    states = [point.status for point in curve.points]
    facts: dict[str, Cell] = {
        "Scan": f"{config.scan.observable} from {config.scan.range[0]:g} to {config.scan.range[1]:g} GeV",
        "Hypotheses": len(curve.points),
        "With limits": sum(point.succeeded for point in curve.points),
        "Vetoed": states.count("vetoed"),
        "Failed": states.count("failed"),
        "State": "blind: from simulation alone" if pictures.blind else f"unblinded: {pictures.data_label}",
    }
    if np.isfinite(expected).any():
        best = int(np.nanargmin(expected))
        facts["Median expected limit, best point"] = (
            f"{expected[best]:.3g}{unit} at {curve.masses[best]:.3f} GeV"
        )
        facts["Median expected limit, median over masses"] = f"{np.nanmedian(expected):.3g}{unit}"
    if curve.global_ is not None and not pictures.blind:
        found = curve.global_
        error = "" if found.p_global_error is None else f" ± {found.p_global_error:.2g}"
        where = "" if found.mass is None else f" at {found.mass:.3f} GeV"
        facts["Largest excess"] = f"local p = {found.p0_min:.2g}{where}"
        facts["Global p-value"] = f"{found.p_global:.2g}{error} ({found.method.replace('_', '–')})"
    if pictures.injected is not None:
        facts["Injected signal"] = (
            f"{pictures.injected['strength']:.3g}{unit} at {pictures.injected['mass']:g} GeV"
        )
    return ReportSection("summary", facts=facts, figures=_figures(pictures, ("limits", "Upper limits")))


def _samples(context: Context) -> ReportSection:
    flows = _json(context, "cut_flow.json")
    rows: list[list[Cell]] = []
    for sample, cuts in flows.items():
        for cut in cuts:
            share = cut["n_after"] / cut["n_before"] if cut["n_before"] else float("nan")
            rows.append([sample, cut["name"], cut["n_before"], cut["n_after"], share])
    table = Table("Rows before and after each step", ["sample", "step", "before", "after", "kept"], rows)
    paragraphs = []
    if any(sample.simulate is not None for sample in context.config.samples.values()):
        paragraphs.append(
            "Simulated samples come from darksieve's own toy simulation: generators at leading order and a"
            " parametrised detector. They are no simulation of any experiment. Each ROOT file has a JSON"
            " sidecar with its seed, settings and cross section."
        )
    links = [
        Link(f"samples/{p.name}", f"samples/{p.name}")
        for p in sorted((context.run / "samples").glob("*.json"))
    ]
    metrics = _json(context, "metrics.json")
    tables = [table, *_multiplicities(context), *tables_of_weights(metrics)]
    if metrics.get("sidebands"):
        tables.append(sideband_table(metrics["sidebands"]))
    return ReportSection("samples", paragraphs=paragraphs, tables=tables, links=links)


def _multiplicities(context: Context) -> list[Table]:
    """Candidates per event before the best is chosen, and how often that is the true one."""
    counted = _json(context, "metrics.json").get("candidates", {})
    keys = ("n_candidates", "n_events", "candidates_per_event", "most", "n_kept", "best_is_true")
    rows: list[list[Cell]] = [
        [sample, channel, *(entry[key] for key in keys)]
        for sample, channels in counted.items()
        for channel, entry in channels.items()
    ]
    columns = ["sample", "channel", "candidates", "events", "per event", "most", "kept", "best is true"]
    return [Table("Candidates of each event before the best is kept", columns, rows)] if rows else []


def _controls(context: Context, pictures: Pictures) -> list[ReportSection]:
    tables = control_tables(context)
    if not tables:
        return []
    text = "Control samples are read and scored; they train nothing, choose nothing and enter no limit."
    figures = _figures(pictures, ("controls_*", "Score in control samples"))
    return [ReportSection("controls", "Control samples", paragraphs=[text], tables=tables, figures=figures)]


def _training(context: Context, pictures: Pictures) -> list[ReportSection]:
    metrics = _json(context, "metrics.json")["classifiers"]
    if not metrics:
        return []
    tables = []
    for name, entry in metrics.items():
        rows: list[list[Cell]] = [["all backgrounds", entry["auc"], entry["auc_error"], *_left(entry), None]]
        rows += [
            [process, own["auc"], own["auc_error"], *_left(own), _left(own["in_scan"])[0]]
            for process, own in entry["by_process"].items()
        ]
        columns = ["background", "AUC", "± (bootstrap)", "left at 90 %", "left at 70 %", "left at 50 %"]
        columns.append("left at 90 % where the scan looks")
        tables.append(
            Table(f"Classifier {name}, every event scored by a model that has not seen it", columns, rows)
        )
    tables += [
        *limit_importance_tables(context),
        *overtraining_tables(context),
        *leakage_tables(context),
        *tuning_tables(context.run),
    ]
    wanted = [
        ("scores_*", "Scores by process"),
        ("roc_*", "ROC by mass"),
        ("training_*", "Training"),
        ("importance_*", "What each feature is worth"),
        ("limit_importance_*", "Which feature buys how much limit"),
        ("score_map_*", "Score against mass and helicity"),
        ("score_spread_*", "Spread of the score among the folds' models"),
        ("correlations_*", "Rank correlations"),
        ("calibration_*", "Calibration"),
        ("overtraining_*", "Seen and unseen events"),
    ]
    return [ReportSection("training", tables=tables, figures=_figures(pictures, *wanted))]


def _left(entry: dict[str, Any]) -> list[Cell]:
    return [entry["background_efficiency"].get(at) for at in ("0.9", "0.7", "0.5")]


def _limits(context: Context, pictures: Pictures) -> ReportSection:
    curve = pictures.curve
    wanted = [
        ("coupling", "Upper limits on the coupling"),
        ("limits_*", "Upper limits, some channels alone"),
        ("p_values", "Local p-values"),
        ("best_fit", "Best fit"),
        ("pulls", "Fitted strength over its error"),
        ("impacts", "Impact of the nuisances at the largest excess"),
    ]
    links = [Link(name, name) for name in ("limits.json", "limits.csv", "interpretation.json", "search.json")]
    return ReportSection(
        "limits",
        tables=[_table_of_limits(curve), *peak_tables(context)],
        figures=_figures(pictures, *wanted),
        links=links,
    )


def _table_of_limits(curve: LimitCurve) -> Table:
    points = [point for point in curve.points if point.succeeded]
    step = max(1, len(points) // N_ROWS_OF_LIMITS)
    unit = "" if curve.parameter.unit == "1" else f" [{curve.parameter.unit}]"
    columns = [
        "mass [GeV]",
        f"observed{unit}",
        "−2σ",
        "−1σ",
        f"median{unit}",
        "+1σ",
        "+2σ",
        "local p",
        "method",
    ]
    with_tails = bool(np.nanmax(np.append(curve.values("tail_spread"), 0.0)) > 0)
    if with_tails:
        columns += ["tail spread [%]", "times more simulation"]
    rows: list[list[Cell]] = []
    for point in points[::step]:
        bands = [(point.expected or {}).get(key) for key in curve.band_keys]
        row: list[Cell] = [point.mass, point.observed, *bands, point.p0, point.method]
        if with_tails:
            spread = None if point.tail_spread is None else 100 * point.tail_spread
            row += [spread, point.more_simulation]
        rows.append(row)
    note = ""
    if with_tails:
        note = (
            "Tail spread: by how much the median expected limit differs between the families that continue"
            " the score's background beyond the simulation. So many times more background simulation gives"
            " every category events enough of its own."
        )
    return Table(f"Every {step}th point; all are in limits.csv", columns, rows, note=note)


def _provenance(context: Context) -> ReportSection:
    stages = context.run.manifest["stages"]
    rows: list[list[Cell]] = [
        [name, stage["begun"], stage["seconds"], stage["seed"], stage["key"][:12]]
        for name, stage in stages.items()
    ]
    stage_table = Table("Stages", ["stage", "begun (UTC)", "seconds", "seed", "key"], rows)
    versions = Table(
        "Versions", ["package", "version"], [list(item) for item in context.run.manifest["versions"].items()]
    )
    facts: dict[str, Cell] = {}
    if context.tracker.run_id is not None:
        facts["MLflow run"] = context.tracker.run_id
    links = [Link(name, name) for name in ("config.yaml", "manifest.json", "log.txt")]
    return ReportSection("provenance", facts=facts, tables=[stage_table, versions], links=links)


def _track(context: Context, pictures: Pictures) -> None:
    curve = pictures.curve
    expected = curve.expected()
    if np.isfinite(expected).any():
        context.tracker.metrics(
            {
                "median_expected_limit": float(np.nanmedian(expected)),
                "best_expected_limit": float(np.nanmin(expected)),
                "points_with_limits": float(sum(point.succeeded for point in curve.points)),
            }
        )
    for name in (
        "limits.json", "limits.csv", "interpretation.json", "working_points.json",
        "metrics.json", "search.json", "report.html", "figures",
    ):  # fmt: skip
        path = context.run / name
        context.tracker.artifacts(path, "figures" if path.is_dir() else None)

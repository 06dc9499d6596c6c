"""The simulation's own validation: measured once a run, shown in its report."""

from __future__ import annotations

from darksieve.datasets.simulation.record import SampleRecord
from darksieve.datasets.simulation.validation import (
    Check,
    SimulatedFile,
    Validation,
    load_validations,
    save_validations,
)
from darksieve.evaluation.plots.validation import draw_validation
from darksieve.evaluation.report import Cell, Figure, Link, ReportSection, Table
from darksieve.run_folder import StageRecord
from darksieve.workflow.context import Context
from darksieve.workflow.pictures import Pictures
from darksieve.workflow.samples import simulated_path

DOCUMENT = "simulation_validation.json"
STAGE = "validate"


def validate_simulation(context: Context) -> bool:
    """Measure the families of the run's simulated samples; False where the run simulates nothing."""
    names = [
        name
        for name, sample in context.config.samples.items()
        if sample.simulate is not None and sample.role != "data"
    ]
    if not names:
        return False
    seed = context.config.seed

    def work(record: StageRecord) -> str:
        from darksieve.datasets.simulation.validations import validate_samples

        files = []
        for name in names:
            path = simulated_path(context, name)
            files.append(SimulatedFile(name, path, SampleRecord.load(path)))
        found = validate_samples(files, seed)
        save_validations(found, context.run / DOCUMENT)
        record.wrote(context.run / DOCUMENT)
        return f"{sum(len(validation.checks) for validation in found)} quantities of the simulation"

    context.stage(STAGE, [context.key(*(f"simulate.{name}" for name in names)), seed], work)
    return True


def simulation_sections(context: Context, pictures: Pictures) -> list[ReportSection]:
    """One section of the report per family that the run simulates."""
    sections = []
    for validation in load_validations(context.run / DOCUMENT):
        figures = []
        for curve in validation.curves:
            drawing = draw_validation(curve, stamp=pictures.stamp(shows_data=False, luminosity=False))
            saved = pictures.keep(f"simulation_{validation.family}_{curve.name}", drawing)
            figures.append(Figure.from_saved(saved, curve.title, relative_to=context.run.path))
        sections.append(
            ReportSection(
                f"simulation_{validation.family}",
                f"Simulation: {validation.title}",
                paragraphs=validation.notes,
                tables=[_table(validation)] if validation.checks else [],
                figures=figures,
                links=[Link(DOCUMENT, DOCUMENT)],
            )
        )
    return sections


def _table(validation: Validation) -> Table:
    rows = [_row(check) for check in validation.checks]
    return Table(
        "What the simulation gives, beside what it should",
        [
            "quantity",
            "simulated",
            "±",
            "reference",
            "±",
            "unit",
            "difference [σ]",
            "difference [%]",
            "source",
        ],
        rows,
        digits=3,
        note="A dash: no error is known, or none is needed. Inputs are numbers of the config, not results.",
    )


def _row(check: Check) -> list[Cell]:
    relative = check.relative_difference
    return [
        check.quantity,
        check.value,
        check.error or None,
        check.reference,
        check.reference_error or None,
        "" if check.unit == "1" else check.unit,
        check.pull if check.pull is None else round(check.pull, 2),
        None if relative is None else round(100 * relative, 2),
        check.source,
    ]

"""What tunings left in a run's folder, for its report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from darksieve.evaluation.report import Cell, Table
from darksieve.models.estimator import read_json
from darksieve.run_folder import RunFolder


def tuning_documents(run: RunFolder | Path) -> list[dict[str, Any]]:
    """What tunings left in a run's folder, by classifier."""
    return [read_json(path) for path in sorted((run / "tuning").glob("*.json"))]


def tuning_tables(run: RunFolder | Path, most: int = 10) -> list[Table]:
    """The best trials of each tuning, for the report."""
    tables = []
    for document in tuning_documents(run):
        finished = [trial for trial in document["trials"] if trial["mean_log_limit"] is not None]
        finished.sort(key=lambda trial: trial["mean_log_limit"])
        names = list(document["best"]["options"])
        rows: list[list[Cell]] = [
            [
                trial["trial"],
                100 * (1 - math.exp(trial["mean_log_limit"] - document["first"]["mean_log_limit"])),
                *(str(trial["options"][name]) for name in names),
            ]
            for trial in finished[:most]
        ]
        n, n_pruned = len(document["trials"]), len(document["trials"]) - len(finished)
        title = f"Tuning of {document['classifier']}: best of {n} trials ({n_pruned} stopped early)"
        note = (
            "The first trial has the config's own options. A trial is judged by what its score could reach on"
            " events that its models have not seen; having been chosen, it is no quote."
        )
        tables.append(Table(title, ["trial", "limit lower than the first by %", *names], rows, note=note))
    return tables

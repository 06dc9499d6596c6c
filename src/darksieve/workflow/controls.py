"""Control samples: read, scored and compared; they train nothing, choose nothing and enter no limit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from darksieve.atomic import write_json
from darksieve.evaluation.report import Table
from darksieve.evaluation.shape_agreement import compare_shapes
from darksieve.models.bundle import Bundle
from darksieve.progress import bar
from darksieve.run_folder import StageRecord
from darksieve.workflow.cascade import bundle_path
from darksieve.workflow.context import Context
from darksieve.workflow.samples import described_sample, identity_of_inputs, sample_chunks
from darksieve.workflow.scoring import Simulation

if TYPE_CHECKING:
    from darksieve.evaluation.report import Cell
    from darksieve.models.scores import Scores
    from darksieve.workflow.pictures import Pictures

DOCUMENT = "controls.json"
SCORES = "control."  # before a classifier's name: scores of the control samples
_EDGES = np.linspace(0.0, 1.0, 51)


def control_names(context: Context) -> list[str]:
    """Samples with role control."""
    return [name for name, sample in context.config.samples.items() if sample.role == "control"]


def score_controls(context: Context, simulation: Simulation) -> None:
    """Score every control sample chunk by chunk: ``controls.json`` and ``scores/control.NAME.parquet``."""
    config, names = context.config, control_names(context)
    if not names:
        (context.run / DOCUMENT).unlink(missing_ok=True)
        for path in (context.run / "scores").glob(f"{SCORES}*.parquet"):
            path.unlink()
        return
    depends_on = [
        simulation.identity,
        identity_of_inputs(context, names),
        context.key(*(f"train.{classifier.name}" for classifier in config.classifiers)),
        config.luminosity_fb,
    ]

    def work(record: StageRecord) -> str:
        bundles = {c.name: Bundle.load(bundle_path(context, c)) for c in config.classifiers}
        counted = {name: _Counts(list(config.channels)) for name in names}
        kept: dict[str, list[Scores]] = {name: [] for name in bundles}
        with bar("read control samples") as progress:
            for i, name in enumerate(names):
                _count(context, simulation, name, bundles, counted[name], kept)
                progress(i + 1, len(names))
        _write_scores(context, kept, record)
        entries = {name: counts.to_json() for name, counts in counted.items()}
        write_json(
            context.run / DOCUMENT,
            {"score_edges": _EDGES.tolist(), "samples": entries, "agreement": _agreement(context, entries)},
        )
        record.wrote(context.run / DOCUMENT)
        n_rows = sum(channel["n_candidates"] for entry in entries.values() for channel in entry.values())
        return f"{n_rows} candidates of {len(names)} control samples"

    context.stage("controls", depends_on, work)


class _Counts:
    """Yields and scores of one sample, by channel."""

    def __init__(self, channels: list[str]) -> None:
        self.n = dict.fromkeys(channels, 0)
        self.content = {name: np.zeros(len(_EDGES) - 1) for name in channels}
        self.squares = {name: np.zeros(len(_EDGES) - 1) for name in channels}

    def add(self, channel: str, score: NDArray, weight: NDArray) -> None:
        self.n[channel] += len(score)
        inside = np.clip(score, 0, 1)
        self.content[channel] += np.histogram(inside, _EDGES, weights=weight)[0]
        self.squares[channel] += np.histogram(inside, _EDGES, weights=weight**2)[0]

    def to_json(self) -> dict[str, Any]:
        return {
            name: {
                "n_candidates": self.n[name],
                "yield": float(self.content[name].sum()),
                "yield_error": float(np.sqrt(self.squares[name].sum())),
                "score": self.content[name].tolist(),
                "score_squares": self.squares[name].tolist(),
            }
            for name in self.n
        }


def _count(
    context: Context,
    simulation: Simulation,
    name: str,
    bundles: Mapping[str, Bundle],
    counts: _Counts,
    kept: Mapping[str, list[Scores]],
) -> None:
    from darksieve.training.folds_training import score_table

    observable = context.config.scan.observable
    for events in sample_chunks(context, simulation.reading, described_sample(context, name)):
        scores = simulation.scores(events, bundles)
        table = simulation.table(events, scores)
        for channel in context.config.channels:
            own = table.of_channel(channel)
            counts.add(channel, own.score, own.weight)
        for classifier, bundle in bundles.items():
            rows = np.flatnonzero(np.isfinite(scores[classifier]))
            part = score_table(events.select(rows), scores[classifier][rows], bundle, observable=observable)
            kept[classifier].append(part)


def _write_scores(context: Context, kept: Mapping[str, list[Scores]], record: StageRecord) -> None:
    from darksieve.models.scores import join_scores

    for classifier, parts in kept.items():
        if parts:
            path = context.run / "scores" / f"{SCORES}{classifier}.parquet"
            join_scores(parts).save(path)
            record.wrote(path)


def _agreement(context: Context, entries: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Shape of the score in each control sample of data against each simulated one, by channel."""
    is_data = {
        name: described_sample(context, name).equivalent_luminosity_fb is None
        for name in control_names(context)
    }
    data, simulated = ([n for n, flag in is_data.items() if flag is wanted] for wanted in (True, False))
    out = []
    for channel, one, other in product(context.config.channels, data, simulated):
        first, second = entries[one][channel], entries[other][channel]
        found = compare_shapes(
            first["score"], first["score_squares"], second["score"], second["score_squares"]
        )
        out.append({"channel": channel, "data": one, "simulation": other, **vars(found)})
    return out


def load_controls(context: Context) -> Mapping[str, Any] | None:
    """``controls.json``; None without control samples."""
    if not control_names(context):
        return None
    document: Mapping[str, Any] = json.loads((context.run / DOCUMENT).read_text(encoding="utf-8"))
    return document


def draw_controls(pictures: Pictures) -> None:
    """Score of the control samples, a picture for each classifier."""
    from darksieve.evaluation.plots.scores import draw_scores
    from darksieve.models.scores import Scores

    for classifier in pictures.config.classifiers if control_names(pictures.context) else ():
        path = pictures.context.run / "scores" / f"{SCORES}{classifier.name}.parquet"
        if not path.is_file():
            continue
        table = Scores.load(path)
        by_sample = {}
        for name in control_names(pictures.context):
            rows = table.sample == name
            if table.weight[rows].sum() > 0:
                by_sample[name] = (table.score[rows], table.weight[rows])
        if by_sample:
            stamp = pictures.stamp(shows_data=False, luminosity=False)
            pictures.keep(f"controls_{classifier.name}", draw_scores(by_sample, stamp=stamp, n_bins=25))


def control_tables(context: Context) -> list[Table]:
    """Yields of the control samples, and how well the shapes of their scores agree."""
    document = load_controls(context)
    if document is None:
        return []
    yields: list[list[Cell]] = [
        [sample, channel, entry["n_candidates"], entry["yield"], entry["yield_error"]]
        for sample, channels in document["samples"].items()
        for channel, entry in channels.items()
    ]
    columns = ["control sample", "channel", "candidates", "yield", "error"]
    tables = [Table("Control samples, which enter no limit", columns, yields)]
    if document["agreement"]:
        keys = ("channel", "data", "simulation", "chi2", "n_degrees", "p_value")
        rows: list[list[Cell]] = [[entry[key] for key in keys] for entry in document["agreement"]]
        columns = ["channel", "data", "simulation", "χ²", "degrees of freedom", "p"]
        tables.append(Table("Shape of the score in control samples", columns, rows))
    return tables

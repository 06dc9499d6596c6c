"""Spectra of simulated events in classes of the score, as a stream: no event is written or kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.datasets.events import SampleInfo
from darksieve.datasets.in_memory import events_in_memory
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.simulation.plans import Plan
from darksieve.datasets.simulation.production import made_in_order
from darksieve.datasets.simulation.request import SampleRequest
from darksieve.errors import InputError
from darksieve.models.bundle import Bundle

BLOCKS_AT_ONCE = 4  # of the generator, scored together: the network works in large batches


@dataclass(frozen=True, eq=False)
class SimulatedSpectrum:
    """Counts of a stream of simulated events.

    Attributes:
        edges: Of the observable, ascending, shape (n_bins + 1,).
        score_edges: Ascending, shape (n_classes + 1,).
        counts: Candidates in class and bin, shape (n_classes, n_bins), int64.
        n_generated: Generated events.
        n_events: Events that the preselection of the simulation keeps.
        n_candidates: Candidates that pass the recipe's selection, those outside the edges included.
    """

    edges: NDArray[np.float64]
    score_edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    n_generated: int
    n_events: int
    n_candidates: int


@dataclass(frozen=True)
class _Piece:
    counts: NDArray[np.int64]
    n_generated: int
    n_events: int
    n_candidates: int


@dataclass(frozen=True)
class _SpectrumMaker:
    """Makes the counts of some blocks; sent to the worker processes, which load the bundle themselves."""

    plan: Plan
    sample: SampleInfo
    recipe: ReadRecipe
    bundle_path: Path
    observable: str
    edges: tuple[float, ...]
    score_edges: tuple[float, ...]

    @property
    def n_blocks(self) -> int:
        assert self.plan.n_blocks is not None
        return -(-self.plan.n_blocks // BLOCKS_AT_ONCE)

    @cached_property
    def bundle(self) -> Bundle:
        return Bundle.load(self.bundle_path)

    def make(self, block: int) -> _Piece:
        assert self.plan.n_blocks is not None
        first = block * BLOCKS_AT_ONCE
        made = [self.plan.make(i) for i in range(first, min(first + BLOCKS_AT_ONCE, self.plan.n_blocks))]
        columns = {name: np.concatenate([piece.columns[name] for piece in made]) for name in made[0].columns}
        events = events_in_memory(columns, self.recipe, self.sample)
        n_classes, n_bins = len(self.score_edges) - 1, len(self.edges) - 1
        of_class = np.searchsorted(self.score_edges, self.bundle.score(events), side="right") - 1
        of_bin = np.searchsorted(self.edges, events[self.observable], side="right") - 1
        inside = (of_class >= 0) & (of_class < n_classes) & (of_bin >= 0) & (of_bin < n_bins)
        flat = of_class[inside] * n_bins + of_bin[inside]
        counts = np.bincount(flat, minlength=n_classes * n_bins).reshape(n_classes, n_bins)
        return _Piece(
            counts.astype(np.int64),
            sum(piece.n_generated for piece in made),
            len(next(iter(columns.values()))),
            len(events),
        )


def simulated_spectrum(
    request: SampleRequest,
    recipe: ReadRecipe,
    bundle_path: Path | str,
    *,
    observable: str,
    edges: ArrayLike,
    score_edges: ArrayLike,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> SimulatedSpectrum:
    """Generates a sample, makes its candidates, scores and counts them, block by block.

    Nothing is written, and memory does not grow with the sample: a few blocks are under way in each process.
    The counts are those of the file that ``simulate`` would write, read and scored, for any number of
    workers. With more than one worker a script needs the usual ``if __name__ == "__main__"``.

    Args:
        request: What is generated; not ``n_candidates``.
        recipe: How candidates are made; the bundle's features are added to its columns.
        bundle_path: The classifier; each candidate is scored by the model of its event's fold.
        observable: Column that is counted.
        edges: Bins of it, ascending, shape (n_bins + 1,).
        score_edges: Classes of the score, ascending, shape (n_classes + 1,); a class holds its lower edge.
        workers: Processes, each with one thread.
        progress: Called after each piece with generated and all expected events.

    Raises:
        InputError: If the edges do not ascend, ``n_candidates`` is asked for, or a column is missing.
    """
    bins, classes = (np.asarray(given, dtype=np.float64) for given in (edges, score_edges))
    for name, given in (("edges", bins), ("score_edges", classes)):
        if given.ndim != 1 or len(given) < 2 or not np.all(np.diff(given) > 0):
            raise InputError(f"{name}: two or more ascending numbers are needed, not {given.tolist()[:6]}")
    if request.n_candidates is not None:
        raise InputError(f"{request.process}: a stream has n_events or luminosity_fb, not n_candidates")
    if workers < 1:
        raise InputError(f"workers is {workers}; it is at least 1")
    bundle_path = Path(bundle_path)
    features = Bundle.load(bundle_path).features
    columns = tuple(dict.fromkeys([*recipe.columns, *features, observable]))
    planned = request.plan()
    maker = _SpectrumMaker(
        planned.plan,
        SampleInfo(request.process, request.chosen.role),
        replace(recipe, columns=columns),
        bundle_path,
        observable,
        tuple(bins.tolist()),
        tuple(classes.tolist()),
    )
    counts = np.zeros((len(classes) - 1, len(bins) - 1), dtype=np.int64)
    n_generated = n_events = n_candidates = 0
    for piece in made_in_order(maker, workers):
        counts += piece.counts
        n_generated += piece.n_generated
        n_events += piece.n_events
        n_candidates += piece.n_candidates
        if progress is not None:
            progress(n_generated, max(planned.n_expected or 0, n_generated))
    return SimulatedSpectrum(bins, classes, counts, n_generated, n_events, n_candidates)

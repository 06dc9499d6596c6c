"""Production of samples: fixed blocks of events on their own streams, written as ROOT with a sidecar."""

from __future__ import annotations

import itertools
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol, TypeVar

from darksieve.datasets.simulation.ntuple import NtupleWriter
from darksieve.datasets.simulation.plans import MAX_EVENTS
from darksieve.datasets.simulation.record import SampleRecord
from darksieve.datasets.simulation.request import Injection, SampleRequest
from darksieve.datasets.simulation.settings import Settings
from darksieve.errors import InputError

__all__ = ["Injection", "SampleRecord", "SampleRequest", "simulate"]

Progress = Callable[[int, int], None]

Made_co = TypeVar("Made_co", covariant=True)


class Maker(Protocol[Made_co]):
    """Makes pieces by their number, any of them in any process."""

    @property
    def n_blocks(self) -> int | None:
        """How many there are; None for no end."""

    def make(self, block: int) -> Made_co: ...


_worker_maker: Maker[Any] | None = None


def _start_worker(maker: Maker[Any]) -> None:
    global _worker_maker  # noqa: PLW0603  # one maker per worker process, sent once
    _worker_maker = maker


def _make_in_worker(block: int) -> Any:
    assert _worker_maker is not None
    return _worker_maker.make(block)


def made_in_order(plan: Maker[Made_co], workers: int) -> Iterator[Made_co]:
    """The pieces in order; with workers a few are under way at a time, so memory stays bounded."""
    numbers = itertools.count() if plan.n_blocks is None else range(plan.n_blocks)
    if workers == 1 or plan.n_blocks == 1:
        for block in numbers:
            yield plan.make(block)
        return
    context = multiprocessing.get_context("spawn")
    workers = workers if plan.n_blocks is None else min(workers, plan.n_blocks)
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(plan,)
    ) as pool:
        waiting: deque[Future[Made_co]] = deque()
        try:
            for block in numbers:
                waiting.append(pool.submit(_make_in_worker, block))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise RuntimeError(
                "a worker process of the simulation died: out of memory, killed, or started by a script "
                'without `if __name__ == "__main__":`; workers=1 needs no processes'
            ) from None
        finally:
            for future in waiting:
                future.cancel()


_RARE_AFTER = 1_000_000  # events without a single candidate


def _refuse_rare(process: str, wanted: int, n_selected: int, n_generated: int) -> None:
    if n_generated >= _RARE_AFTER and n_selected == 0:
        raise InputError(
            f"{process}: no candidate among {n_generated} events, and {wanted} are wanted; "
            "loosen the preselection"
        )
    if n_generated >= MAX_EVENTS // 2:
        raise InputError(
            f"{process}: {n_selected} candidates among {n_generated} events, and {wanted} are wanted: more "
            "than event numbers allow; loosen the preselection or want fewer"
        )


def simulate(
    process: str,
    path: Path | str,
    *,
    n_events: int | None = None,
    luminosity_fb: float | None = None,
    n_candidates: int | None = None,
    masses: Mapping[float, int] | None = None,
    mass_range: tuple[float, float] | None = None,
    inject: Injection | None = None,
    settings: Settings | None = None,
    seed: int = 1,
    workers: int = 1,
    tree: str = "ntuple",
    progress: Progress | None = None,
) -> SampleRecord:
    """Simulates a process into a ROOT file with a JSON sidecar of the same stem, both written atomically.

    The columns depend on the arguments and the seed alone, not on the number of workers. With more than one
    worker the processes are spawned, so a script needs the usual ``if __name__ == "__main__"``.

    Args:
        process: A name of ``PROCESSES``.
        path: The ROOT file.
        n_events: Events to generate, before the preselection (backgrounds, flat signal).
        luminosity_fb: Instead, the luminosity to generate (backgrounds; pseudo-data, which needs it).
        n_candidates: Instead, candidates wanted (backgrounds, flat signal): whole blocks are generated, in
            order, until there are as many.
        masses: Signal at these masses in GeV: events to generate at each.
        mass_range: Signal flat in mass between these, GeV.
        inject: A signal in pseudo-data.
        settings: Physics settings, of the class that the process takes; None for its defaults.
        seed: Any integer of at least 0.
        workers: Processes to use, each with one thread.
        tree: Name of the TTree.
        progress: Called after each block with generated and all expected events, or with candidates and those
            wanted.

    Returns:
        The sidecar's contents.

    Raises:
        InputError: If the arguments do not fit the process or each other, or candidates are too rare.
    """
    request = SampleRequest(
        process,
        n_events=n_events,
        luminosity_fb=luminosity_fb,
        n_candidates=n_candidates,
        masses=masses,
        mass_range=mass_range,
        inject=inject,
        settings=settings,
        seed=seed,
    )
    path = Path(path)
    if path.suffix != ".root":
        raise InputError(f"{path}: simulated samples are ROOT files; name it .root")
    if workers < 1:
        raise InputError(f"workers is {workers}; it is at least 1")
    planned = request.plan()

    n_generated = 0
    with NtupleWriter(path, tree) as writer:
        for block in made_in_order(planned.plan, workers):
            writer.write(block.columns)
            n_generated += block.n_generated
            if progress is not None and n_candidates is not None:
                progress(min(writer.n_rows, n_candidates), n_candidates)
            elif progress is not None:
                progress(n_generated, max(planned.n_expected or 0, n_generated))
            if n_candidates is not None:
                if writer.n_rows >= n_candidates:
                    break
                _refuse_rare(process, n_candidates, writer.n_rows, n_generated)
        # a sidecar of an older file must never stand beside the new one
        path.with_suffix(".json").unlink(missing_ok=True)

    assert request.settings is not None
    record = SampleRecord(
        process=process,
        role=request.chosen.role,
        tree=tree,
        seed=seed,
        n_generated={float(m): int(n) for m, n in masses.items()} if masses is not None else n_generated,
        n_selected=writer.n_rows,
        mass_range=None if mass_range is None else (float(mass_range[0]), float(mass_range[1])),
        cross_section_fb=planned.cross_section_fb,
        cross_section_error_fb=planned.cross_section_error_fb,
        luminosity_fb=planned.luminosity_fb
        if planned.cross_section_fb is None
        else n_generated / planned.cross_section_fb,
        sha256=writer.sha256,
        columns=tuple(writer.columns),
        settings=request.settings.to_mapping() | ({} if inject is None else {"inject": vars(inject)}),
        sources=request.settings.unit_and_source(),
    )
    record.save(path)
    return record

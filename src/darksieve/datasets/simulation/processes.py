"""The registry of processes: those of every family, by name."""

from __future__ import annotations

from darksieve.datasets.simulation.bfactory.processes import B_FACTORY_PROCESSES
from darksieve.datasets.simulation.displaced.processes import DISPLACED_PROCESSES
from darksieve.datasets.simulation.hinv.processes import HINV_PROCESSES
from darksieve.datasets.simulation.photons.processes import PHOTON_PROCESSES
from darksieve.datasets.simulation.process import Process
from darksieve.errors import InputError, nearest

PROCESSES: dict[str, Process] = {
    process.name: process
    for process in (*PHOTON_PROCESSES, *B_FACTORY_PROCESSES, *HINV_PROCESSES, *DISPLACED_PROCESSES)
}


def process_named(name: str) -> Process:
    """The process of that name.

    Raises:
        InputError: If there is none.
    """
    try:
        return PROCESSES[name]
    except KeyError:
        raise InputError(
            f"simulate: {name!r} is not a process; there are {sorted(PROCESSES)}{nearest(name, PROCESSES)}"
        ) from None

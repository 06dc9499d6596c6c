"""Process: what the registry knows of anything that can be simulated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from darksieve.datasets.events import Role
from darksieve.datasets.simulation.ntuple import Columns
from darksieve.datasets.simulation.plans import PlannedSample
from darksieve.datasets.simulation.settings import Settings

if TYPE_CHECKING:
    from darksieve.datasets.simulation.request import SampleRequest


@dataclass(frozen=True)
class Process:
    """One process that can be simulated.

    Attributes:
        name: Its name in configs, files and pictures.
        production: ``__production__`` of its events and the key of its random stream; no two are equal.
        role: What its samples are for.
        description: One line for tables.
        settings: Class of its physics settings.
        plan: Makes the plan of a sample from a request, which has been checked.
        no_rows: Its branches, with no rows, from settings: known without generating an event.
        mass_branch: Truth branch with the generated mass of a signal in GeV, None for other roles.
        largest_mass: Mass in GeV that a signal's mass lies below, from settings.
        weight_branch: Branch that multiplies the weight of its candidates, None where they count alike.
    """

    name: str
    production: int
    role: Role
    description: str
    settings: type[Settings]
    plan: Callable[[SampleRequest], PlannedSample]
    no_rows: Callable[[Any], Columns]
    mass_branch: str | None = None
    largest_mass: Callable[[Any], float] | None = None
    weight_branch: str | None = None

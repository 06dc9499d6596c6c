"""What is read from every sample of a search."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from darksieve.datasets.beams import Beams
from darksieve.datasets.candidates import PairingRecipe
from darksieve.datasets.expressions import Expression
from darksieve.datasets.folds import EVENT_KEY
from darksieve.datasets.kinematic_fit import PhotonResolution
from darksieve.errors import InputError


@dataclass(frozen=True)
class ReadRecipe:
    """What is read from every sample of a search.

    Attributes:
        columns: Names that the events shall have, in basf2's or ROOT's form: branches, columns of pairing
            (:data:`~darksieve.datasets.candidates.KINEMATIC_COLUMNS`), ``pair1_<var>``, ``fit_chi2``.
        luminosity_fb: The search's luminosity in 1/fb, which background weights refer to.
        select: Expression that candidates of every sample must pass; it may use columns of pairing.
        pairings: How candidates are made of photons; None where a row of the file is a candidate.
        beams: Needed for pairings.
        resolution: What the kinematic fit assumes of the photons.
        event_key: Branches of the event key; those present are used.
        chunk_rows: Rows of the file that are in memory at once; a basket of the file is the least.
        may_be_missing: Columns in which NaN means "missing" and is kept.
        duplicates: What to do with rows of the same event key and ``__candidate__``: error or keep.
        may_be_empty: Whether a sample of which nothing is left is allowed.

    Raises:
        InputError: If a value is not one of those named here, or the selection is no expression.
    """

    columns: tuple[str, ...]
    luminosity_fb: float
    select: str | None = None
    pairings: PairingRecipe | None = None
    beams: Beams | None = None
    resolution: PhotonResolution = field(default_factory=PhotonResolution)
    event_key: tuple[str, ...] = EVENT_KEY
    chunk_rows: int = 50_000
    may_be_missing: tuple[str, ...] = ()
    duplicates: str = "error"
    may_be_empty: bool = False

    def __post_init__(self) -> None:
        for name in ("columns", "event_key", "may_be_missing"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
        if self.duplicates not in ("error", "keep"):
            raise InputError(f"duplicates is {self.duplicates!r}; it is 'error' or 'keep'")
        if self.chunk_rows < 1:
            raise InputError(f"chunk_rows is {self.chunk_rows}; it is at least 1")
        if not (np.isfinite(self.luminosity_fb) and self.luminosity_fb > 0):
            raise InputError(f"luminosity_fb is {self.luminosity_fb}; it is a positive number")
        if self.select is not None:
            try:
                Expression(self.select)
            except InputError as error:
                raise InputError(f"candidates.select: {error}") from None
        if self.pairings is not None and self.beams is None:
            raise InputError("pairings need beams, since their angles are those of the centre-of-mass system")

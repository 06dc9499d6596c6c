"""What is read from every sample of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from darksieve.datasets.beams import Beams
from darksieve.datasets.candidates import PairingRecipe
from darksieve.datasets.derived import DerivedColumns
from darksieve.datasets.expressions import Expression
from darksieve.datasets.files import CHUNK_BYTES
from darksieve.datasets.folds import EVENT_KEY
from darksieve.datasets.kinematic_fit import PhotonResolution
from darksieve.datasets.missing import MissingValues
from darksieve.datasets.weights import MassWindows
from darksieve.errors import InputError


@dataclass(frozen=True)
class ReadRecipe:
    """What is read from every sample of a search.

    Attributes:
        columns: Names that the events shall have, in basf2's or ROOT's form: branches, columns of pairing
            (:data:`~darksieve.datasets.candidates.KINEMATIC_COLUMNS`), ``pair1_<var>``, ``fit_chi2``.
        luminosity_fb: Luminosity in 1/fb that background weights refer to: the search's, or of the period.
        select: Expression that candidates of every sample must pass; it may use columns of pairing.
        pairings: How candidates are made of photons; None where a row of the file is a candidate.
        beams: Needed for pairings.
        resolution: What the kinematic fit assumes of the photons.
        event_key: Branches of the event key; those present are used.
        chunk_rows: Rows of the file that are in memory at once; a basket or cluster of the file is the least.
        chunk_bytes: Bytes of the file's rows, uncompressed, that are in memory at once, with the same least.
        derived: Columns defined by expressions over branches, columns of pairing and earlier ones of these.
        missing: Pattern over branches -> values that mean "missing" and become NaN. Such a column, and one
            that a reduction leaves undefined for an empty list, keeps its NaN whatever ``non_finite`` says.
        may_be_missing: Columns in which NaN and infinity mean "missing" and are kept.
        never_missing: Columns in which NaN is never "missing", whatever they are made from: observables.
        period: Name of the data-taking period, which goes into the event key; None where there is only one.
        signal_share: Share of the search's luminosity that the sample's period has; weights of signal are
            multiplied by it, so that they add up to the efficiency over all periods.
        whole_events: Whether a stream keeps the candidates of an event in one part.
        duplicates: What to do with rows of the same event key and ``__candidate__``: error or keep.
        windows: Mass windows in which the effect of a policy for negative weights is summed up, if any.
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
    chunk_bytes: int = CHUNK_BYTES
    derived: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    may_be_missing: tuple[str, ...] = ()
    never_missing: tuple[str, ...] = ()
    period: str | None = None
    signal_share: float = 1.0
    whole_events: bool = False
    duplicates: str = "error"
    windows: MassWindows | None = None
    may_be_empty: bool = False

    def __post_init__(self) -> None:
        for name in ("columns", "event_key", "may_be_missing", "never_missing"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
        DerivedColumns(self.derived)
        MissingValues(self.missing)
        if self.duplicates not in ("error", "keep"):
            raise InputError(f"duplicates is {self.duplicates!r}; it is 'error' or 'keep'")
        if self.chunk_rows < 1:
            raise InputError(f"chunk_rows is {self.chunk_rows}; it is at least 1")
        if self.chunk_bytes < 1:
            raise InputError(f"chunk_bytes is {self.chunk_bytes}; it is at least 1")
        if not (np.isfinite(self.luminosity_fb) and self.luminosity_fb > 0):
            raise InputError(f"luminosity_fb is {self.luminosity_fb}; it is a positive number")
        if self.select is not None:
            try:
                Expression(self.select)
            except InputError as error:
                raise InputError(f"candidates.select: {error}") from None
        if self.pairings is not None and self.beams is None:
            raise InputError("pairings need beams, since their angles are those of the centre-of-mass system")

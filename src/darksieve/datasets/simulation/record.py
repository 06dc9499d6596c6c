"""SampleRecord: the sidecar of a simulated sample, which says how it was made and how much of it there is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from darksieve.atomic import write_text
from darksieve.datasets.events import Role
from darksieve.errors import InputError

FORMAT = "darksieve-sample/1"
LABEL = "toy simulation; not a detector simulation of any experiment"


@dataclass(frozen=True)
class SampleRecord:
    """What the sidecar holds: how a sample was made and how much of it there is.

    Attributes:
        process: Name of the process.
        role: signal, background or data.
        tree: Name of the TTree.
        seed: Seed of all its random streams.
        n_generated: Generated events; for discrete signal masses one number per mass.
        n_selected: Events in the file.
        mass_range: Range of a flat signal in GeV, or None.
        cross_section_fb: Generated cross section, inside generator cuts, with branching fractions and
            filters; None for signal and pseudo-data.
        cross_section_error_fb: Its statistical error.
        luminosity_fb: Luminosity that the sample stands for; None for signal.
        sha256: Hash over all columns.
        columns: Names of the branches.
        settings: Beams, detector, selection, generator cuts; what was injected.
        sources: Cross sections with unit and source.
    """

    process: str
    role: Role
    tree: str
    seed: int
    n_generated: int | dict[float, int]
    n_selected: int
    mass_range: tuple[float, float] | None
    cross_section_fb: float | None
    cross_section_error_fb: float | None
    luminosity_fb: float | None
    sha256: str
    columns: tuple[str, ...]
    settings: dict[str, Any]
    sources: dict[str, Any]

    def save(self, path: Path) -> None:
        """Writes the sidecar of a ROOT file (either path), atomically."""
        write_text(path.with_suffix(".json"), self.to_json() + "\n")

    def to_json(self) -> str:
        values = {
            "format": FORMAT,
            "label": LABEL,
            "darksieve": version("darksieve"),
            **vars(self),
            "role": self.role.value,
        }
        if isinstance(self.n_generated, dict):
            values["n_generated"] = {str(mass): n for mass, n in self.n_generated.items()}
        return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)

    @classmethod
    def load(cls, path: Path) -> SampleRecord:
        """Reads the sidecar of a ROOT file (either path).

        Raises:
            InputError: If there is none, or it is not of this format.
        """
        path = Path(path).with_suffix(".json")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(
                f"{path} is missing: the sidecar that a simulated sample has beside it"
            ) from None
        except ValueError as error:
            raise InputError(f"{path} is not JSON: {error}") from None
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise InputError(f"{path} is not the sidecar of a simulated sample (format {FORMAT})")
        values.pop("label", None)
        values.pop("darksieve", None)
        try:
            values["role"] = Role(values["role"])
            if isinstance(values["n_generated"], dict):
                values["n_generated"] = {float(mass): int(n) for mass, n in values["n_generated"].items()}
            if values["mass_range"] is not None:
                values["mass_range"] = tuple(values["mass_range"])
            values["columns"] = tuple(values["columns"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is damaged: {error!r}; simulate the sample again") from None

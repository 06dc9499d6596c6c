"""What every stage of a run shares: config, folder, tracking and the rule of what is done already."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from darksieve.config import CustomBeams, SearchConfig
from darksieve.datasets.beams import Beams
from darksieve.datasets.cache import Cache
from darksieve.progress import say
from darksieve.run_folder import RunFolder, StageRecord, stage_key
from darksieve.tracking import Tracker

log = logging.getLogger("darksieve")


@dataclass(frozen=True)
class Context:
    """One run at work."""

    config: SearchConfig
    run: RunFolder
    tracker: Tracker
    workers: int
    unblind: bool
    cache: Cache | None = None

    def stage(self, name: str, depends_on: Any, work: Callable[[StageRecord], str | None]) -> bool:
        """Do a stage unless it is done with the same inputs; True if it was done now.

        Args:
            name: The stage's name in the manifest.
            depends_on: Everything JSON-able that the result depends on.
            work: Does the stage, names what it wrote, and may return a line for the user.
        """
        key = stage_key(name, depends_on)
        if self.run.is_done(name, key):
            log.info("%s: done before with the same inputs", name)
            return False
        log.info("%s: begun", name)
        with self.run.stage(name, key, seed=self.config.seed) as record:
            summary = work(record)
        seconds = self.run.manifest["stages"][name]["seconds"]
        say(f"{name:<24} {seconds:7.1f} s  {summary or ''}".rstrip())
        return True

    def key(self, *stages: str) -> list[str]:
        """Keys of finished stages, for the stages that build on them."""
        keys = []
        for stage in stages:
            key = self.run.key_of(stage)
            if key is None:
                raise RuntimeError(f"stage {stage} has not been done")
            keys.append(key)
        return keys

    @property
    def beams(self) -> Beams:
        """The collision's beams."""
        return beams_of(self.config)


def beams_of(config: SearchConfig, period: str | None = None) -> Beams:
    """The beams that a config names or describes, for all of it or for a period."""
    beams = config.beams if period is None else config.periods[period].beams
    if isinstance(beams, CustomBeams):
        return Beams(beams.electron_gev, beams.positron_gev, beams.crossing_mrad)
    return Beams.named(beams)


def reading_document(config: SearchConfig) -> dict[str, Any]:
    """What a bundle keeps of how candidates are made, for inference on other files."""
    candidates = config.candidates
    pairings = candidates.pairings
    return {
        "beams": _plain_beams(config.beams),
        "event_key": list(config.event_key),
        "observable": config.scan.observable,
        "select": candidates.select,
        "pairings": None if pairings is None else pairings.model_dump(mode="json"),
        "columns": dict(candidates.columns),
        "missing": {pattern: list(values) for pattern, values in candidates.missing.items()},
        "periods": {name: _plain_beams(period.beams) for name, period in config.periods.items()},
    }


def _plain_beams(beams: str | CustomBeams) -> Any:
    return beams if isinstance(beams, str) else beams.model_dump()


def facts_of_run(run: RunFolder) -> dict[str, Any]:
    """What the last scan looked at: blind or not, data or pseudo-data, the injected signal."""
    facts: dict[str, Any] = json.loads((run / "data.json").read_text(encoding="utf-8"))
    return facts

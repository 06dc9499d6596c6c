"""Sections of a config about backgrounds that peak where a signal would."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from pydantic import Field

from darksieve.config.fields import Name, Positive, Section
from darksieve.errors import nearest


class PeakConfig(Section):
    """One of several peaks of a sample: the value of ``by`` that its candidates have, and its place.

    ``mass``: of a signal that would peak there. ``channels``: those in which it does, all by default.
    """

    value: int
    mass: Positive
    channels: Annotated[list[str], Field(min_length=1)] | None = None


class PeaksConfig(Section):
    """Peaks of a sample with several, which the branch ``by`` tells apart; the rest of it is smooth."""

    by: str
    peaks: Annotated[dict[Name, PeakConfig], Field(min_length=1)]

    def refuse_unknown(self, place: str, channels: Collection[str]) -> None:
        """Raise ValueError if a peak names a channel that is not there."""
        for name, peak in self.peaks.items():
            for channel in peak.channels or ():
                if channel not in channels:
                    hint = nearest(channel, channels)
                    raise ValueError(f"{place}.peaks.{name}.channels: there is no channel {channel!r}{hint}")

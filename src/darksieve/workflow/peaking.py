"""Backgrounds that peak where a signal would, as the config names them."""

from __future__ import annotations

from darksieve.config import SearchConfig
from darksieve.evaluation.peaks import KnownPeak


def whole_peaks(config: SearchConfig) -> tuple[str, ...]:
    """Samples whose candidates make one peak."""
    return tuple(name for name, sample in config.samples.items() if sample.peaking is True)


def known_peaks(config: SearchConfig, channel: str) -> tuple[KnownPeak, ...]:
    """Peaks of samples with several, as far as a channel has them."""
    out = []
    for sample, given in config.samples.items():
        if given.peaks is None:
            continue
        for name, peak in given.peaks.peaks.items():
            if peak.channels is None or channel in peak.channels:
                out.append(KnownPeak(name, sample, given.peaks.by, peak.value, peak.mass))
    return tuple(out)

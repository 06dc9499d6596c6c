"""The toy detector's response to generated events."""

from __future__ import annotations

import numpy as np

from darksieve.datasets.simulation.bfactory.calorimeter import measure_clusters
from darksieve.datasets.simulation.bfactory.detected import DetectedBatch
from darksieve.datasets.simulation.bfactory.kshorts import find_kshorts
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch
from darksieve.datasets.simulation.bfactory.settings import BFactorySettings
from darksieve.datasets.simulation.bfactory.tracks import measure_tracks


def detect(rng: np.random.Generator, particles: ParticleBatch, settings: BFactorySettings) -> DetectedBatch:
    """Tracks, clusters and K_S of generated events."""
    tracks = measure_tracks(rng, particles, settings.tracking, settings.identification)
    clusters = measure_clusters(
        rng,
        particles,
        settings.calorimeter,
        settings.showers,
        settings.preselection.min_photon_energy,
    )
    return DetectedBatch(tracks, clusters, find_kshorts(rng, particles, tracks, settings.tracking))

"""The hadronic tag: a stand-in for the full reconstruction of the other B, not a reconstruction.

A right tag is the true B, its momentum smeared. How likely a full reconstruction would have found it depends
on what it decayed to and is a weight of the candidate: no event is thrown away at random. Wrong tags are made
in ``fake_tags``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darksieve.errors import InputError

Floats = NDArray[np.float64]

_TRACKS = (11, 13, 211, 321, 2212)
_PHOTON = 22


@dataclass(frozen=True)
class TagSettings:
    """Numbers of the stand-in for a hadronic tag; GeV unless named otherwise.

    The efficiencies are those of a hadronic full event interpretation at about 10 % purity, T. Keck et al.,
    Comput. Softw. Big Sci. 3 (2019) 6, arXiv:1807.08680, from memory. All other numbers are illustrative but
    for ``mean_relative_…``, which were measured with this program.

    Attributes:
        efficiency_charged, efficiency_neutral: Mean number of right tags per B± and per B0 that decays
            generically.
        per_track, per_pi0: Factors of the relative efficiency for each track and each pair of photons.
        max_tracks, max_photons: More of them are not reconstructed.
        mean_relative_charged, mean_relative_neutral: Mean relative efficiency of generic decays, which the
            efficiencies are divided by: measured with Pythia 8.317 decays and the default factors.
        fake_efficiency: Mean number of wrong tags of a candidate h if every combination lay in the window.
        momentum_sigma: Resolution of each component of a right tag's momentum in the CMS.
        momentum_tail_fraction, momentum_tail_sigma: A share of tags has a wider one.
        delta_e_sigma, delta_e_per_photon: Resolution of ΔE, and what each photon adds in quadrature.
        right_logit, wrong_logit: Mean logit of the signal probability of right tags without photons of two
            tracks, and of wrong ones.
        right_logit_per_body: Change of the former for each further track or photon.
        right_logit_sigma, wrong_logit_sigma: Spread of the logits.
        min_mbc, max_abs_delta_e: Window of tag candidates.
        extra_tracks_mean: Poisson mean of extra tracks of the beam background.
        trials: Random combinations that are tried for each candidate h.
        track_share, cluster_share: Probabilities of a track and of a cluster to be in a combination.
    """

    efficiency_charged: float = 0.0061
    efficiency_neutral: float = 0.0034
    per_track: float = 0.8
    per_pi0: float = 0.4
    max_tracks: int = 9
    max_photons: int = 6
    mean_relative_charged: float = 0.01125
    mean_relative_neutral: float = 0.00931
    fake_efficiency: float = 0.1
    momentum_sigma: float = 0.015
    momentum_tail_fraction: float = 0.15
    momentum_tail_sigma: float = 0.045
    delta_e_sigma: float = 0.012
    delta_e_per_photon: float = 0.012
    right_logit: float = 1.0
    wrong_logit: float = -4.5
    right_logit_per_body: float = -0.4
    right_logit_sigma: float = 2.0
    wrong_logit_sigma: float = 1.7
    min_mbc: float = 5.24
    max_abs_delta_e: float = 0.15
    extra_tracks_mean: float = 0.03
    trials: int = 64
    track_share: float = 0.92
    cluster_share: float = 0.5

    def __post_init__(self) -> None:
        values = asdict(self)
        for name, value in values.items():
            if not np.isfinite(value):
                raise InputError(f"tag.{name} is {value}; it is a finite number")
            if value < 0 and "logit" not in name:
                raise InputError(f"tag.{name} is {value}; it is at least 0")
        for name in (
            "efficiency_charged", "efficiency_neutral", "per_track", "per_pi0", "fake_efficiency",
            "momentum_tail_fraction", "track_share", "cluster_share",
        ):  # fmt: skip
            if values[name] > 1:
                raise InputError(f"tag.{name} is {values[name]}; it is at most 1")
        for name in ("mean_relative_charged", "mean_relative_neutral"):
            if values[name] == 0:
                raise InputError(f"tag.{name} is 0; it is positive")
        if self.trials < 1:
            raise InputError(f"tag.trials is {self.trials}; at least 1 combination is tried")


class TagContent(NamedTuple):
    """What each B of each event decays to: numbers of detectable and undetectable stable particles.

    All of shape (n_events, 2); a B that is not there has -1 tracks.
    """

    tracks: NDArray[np.int64]
    photons: NDArray[np.int64]
    missing: NDArray[np.int64]


def tag_content(
    pdg: NDArray[np.int64], event: NDArray[np.int64], b: NDArray[np.int64], n_events: int
) -> TagContent:
    """Counts of the stable particles of each B.

    Args:
        pdg: Particle numbers of stable particles, shape (n,).
        event: Their events, shape (n,).
        b: 0 or 1 for what comes from the first or second B, -1 for what does not, shape (n,).
    """
    kind = np.abs(pdg)
    is_track = np.isin(kind, _TRACKS)
    is_photon = kind == _PHOTON
    counts = []
    for chosen in (is_track, is_photon, ~is_track & ~is_photon):
        rows = chosen & (b >= 0)
        place = event[rows] * 2 + b[rows]
        counts.append(np.bincount(place, minlength=2 * n_events).reshape(n_events, 2))
    tracks, photons, missing = counts
    absent = tracks + photons + missing == 0
    return TagContent(np.where(absent, -1, tracks), photons, missing)


def right_tag_efficiency(content: TagContent, charged: NDArray[np.bool_], settings: TagSettings) -> Floats:
    """Expected number of right tags from each B, shape (n_events, 2).

    A B with neutrinos, K_L, neutrons or X among its decay products is never a right tag.

    Args:
        content: What the Bs decay to.
        charged: Whether each B is charged, shape (n_events, 2).
    """
    relative = settings.per_track**content.tracks * settings.per_pi0 ** (content.photons / 2)
    found = (
        (content.tracks >= 0)
        & (content.missing == 0)
        & (content.tracks <= settings.max_tracks)
        & (content.photons <= settings.max_photons)
    )
    scale = np.where(
        charged,
        settings.efficiency_charged / settings.mean_relative_charged,
        settings.efficiency_neutral / settings.mean_relative_neutral,
    )
    return np.where(found, np.minimum(scale * relative, 1.0), 0.0)


class Tags(NamedTuple):
    """Measured tags.

    Attributes:
        momentum: Measured four-momenta in the CMS, GeV, shape (n, 4).
        mbc, delta_e: Shape (n,).
        probability: Signal probability, shape (n,).
    """

    momentum: Floats
    mbc: Floats
    delta_e: Floats
    probability: Floats


def beam_constrained_mass(momentum: Floats, beam_energy: float) -> Floats:
    """Mbc in GeV of CMS four-momenta, shape (n, 4); 0 where the momentum is above the beam energy."""
    return np.sqrt(np.maximum(beam_energy**2 - (momentum[:, :3] ** 2).sum(axis=1), 0))


def smeared_tags(
    rng: np.random.Generator,
    true_momentum: Floats,
    tracks: NDArray[np.int64],
    photons: NDArray[np.int64],
    beam_energy: float,
    settings: TagSettings,
) -> Tags:
    """Right tags as measured: a peak in Mbc and ΔE.

    The energy of the B is half of √s but for its spread, so ΔE is drawn about 0 apart from the momentum.

    Args:
        true_momentum: CMS four-momenta of the Bs, GeV, shape (n, 4).
        tracks, photons: Their numbers, shape (n,).
        beam_energy: Half of the nominal √s, GeV.
    """
    n = len(true_momentum)
    in_tail = rng.random(n) < settings.momentum_tail_fraction
    sigma = np.where(in_tail, settings.momentum_tail_sigma, settings.momentum_sigma)
    momentum = true_momentum[:, :3] + sigma[:, None] * rng.standard_normal((n, 3))
    width = np.sqrt(settings.delta_e_sigma**2 + photons * settings.delta_e_per_photon**2)
    delta_e = true_momentum[:, 3] - beam_energy + width * rng.standard_normal(n)
    four = np.concatenate([momentum, (beam_energy + delta_e)[:, None]], axis=1)
    bodies = np.asarray(tracks + photons, dtype=np.float64)
    logit = settings.right_logit + settings.right_logit_per_body * (bodies - 2)
    probability = _probability(rng, logit, settings.right_logit_sigma)
    return Tags(four, beam_constrained_mass(four, beam_energy), delta_e, probability)


def wrong_tags(rng: np.random.Generator, momentum: Floats, beam_energy: float, settings: TagSettings) -> Tags:
    """Tags from combinations of particles: their own Mbc and ΔE, and a falling signal probability.

    Args:
        momentum: Measured CMS four-momenta, GeV, shape (n, 4).
    """
    logit = np.full(len(momentum), settings.wrong_logit)
    probability = _probability(rng, logit, settings.wrong_logit_sigma)
    delta_e = momentum[:, 3] - beam_energy
    return Tags(momentum, beam_constrained_mass(momentum, beam_energy), delta_e, probability)


def _probability(rng: np.random.Generator, logit: Floats, sigma: float) -> Floats:
    return 1 / (1 + np.exp(-(logit + sigma * rng.standard_normal(len(logit)))))

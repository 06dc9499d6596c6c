"""Which columns of a candidate belong to which photon: the layout that a network on the photons needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from darksieve.errors import InputError

ROLES = ("pair1", "pair2", "recoil", "extra")
OPTIONAL_ROLES = ROLES[2:]  # what an event may lack; its columns are NaN then
_COSINES = {role: f"cosTheta_{role}" for role in ROLES} | {"recoil": "cosThetaRecoil"}

SET_FEATURES = (
    "M_gg",
    *(f"E_{role}" for role in ROLES[:3]),
    *(_COSINES[role] for role in ROLES[:3]),
    *(f"phi_{role}" for role in ROLES[:3]),
)
"""Energies, polar cosines and azimuths (CMS) of a pair and its recoil, and the mass of the pair."""

EXTRA_FEATURES = ("E_extra", "cosTheta_extra", "phi_extra")
"""The same of a fourth photon."""


def role_of(feature: str) -> str | None:
    """The photon that a column describes, or None for what describes the candidate or the event."""
    for role in ROLES:
        if feature in (f"E_{role}", f"phi_{role}", _COSINES[role]) or feature.startswith(f"{role}_"):
            return role
    return None


def may_be_absent(feature: str) -> bool:
    """Whether a column belongs to a photon that an event may lack."""
    return role_of(feature) in OPTIONAL_ROLES


@dataclass(frozen=True)
class PhotonLayout:
    """Positions of the photons' columns among the features.

    Attributes:
        roles: The photons that are described, pair1 and pair2 first.
        energy, cosine: Position of each photon's column.
        azimuth: The same, or empty where there are no azimuths.
        variables: Names of further variables, which every photon has.
        variable: Positions of each variable's columns, one for each photon.
        context: Positions of what describes the candidate.
    """

    roles: tuple[str, ...]
    energy: tuple[int, ...]
    cosine: tuple[int, ...]
    azimuth: tuple[int, ...]
    variables: tuple[str, ...]
    variable: tuple[tuple[int, ...], ...]
    context: tuple[int, ...]

    @classmethod
    def of(cls, features: Sequence[str]) -> PhotonLayout:
        """The layout of these features.

        Raises:
            InputError: If a photon lacks a column that another has, or the pair is not described.
        """
        features = list(features)
        roles = tuple(role for role in ROLES if any(role_of(name) == role for name in features))
        for role in ROLES[:2]:
            if role not in roles:
                raise InputError(
                    f"photon_network: attention needs the photons' own columns, E_{role}, cosTheta_{role} …;"
                    f" the features have none of {role}"
                )
        described = [(name, role_of(name)) for name in features]
        variables = tuple(
            dict.fromkeys(
                name.removeprefix(f"{own}_")
                for name, own in described
                if own is not None and name.startswith(f"{own}_")
            )
        )
        with_azimuths = any(f"phi_{role}" in features for role in roles)

        def positions(names: dict[str, str]) -> tuple[int, ...]:
            lacking = [name for name in names.values() if name not in features]
            if lacking:
                raise InputError(
                    f"photon_network: attention treats all photons alike; the features lack {lacking}"
                )
            return tuple(features.index(name) for name in names.values())

        return cls(
            roles=roles,
            energy=positions({role: f"E_{role}" for role in roles}),
            cosine=positions({role: _COSINES[role] for role in roles}),
            azimuth=positions({role: f"phi_{role}" for role in roles}) if with_azimuths else (),
            variables=variables,
            variable=tuple(positions({role: f"{role}_{name}" for role in roles}) for name in variables),
            context=tuple(i for i, name in enumerate(features) if role_of(name) is None),
        )

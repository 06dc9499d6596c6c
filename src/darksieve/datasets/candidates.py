"""Candidates: pairs of photons that may come from one particle, and the angles that describe them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.beams import Beams
from darksieve.datasets.lists import Lists
from darksieve.errors import InputError

MASS_COLUMNS = ("M_gg", "M2_gg", "M_recoil", "M2_recoil")  # double precision; the others are float32
KINEMATIC_COLUMNS = (
    *MASS_COLUMNS,
    "cosThetaRecoil",
    "cosHelicity",
    "phiHelicity",
    "E_pair1",
    "E_pair2",
    "E_recoil",
    "cosTheta_pair1",
    "cosTheta_pair2",
)
TRUE_PAIR_COLUMN = "is_true_pair"
FIT_CHI2_COLUMN = "fit_chi2"
RAW_MOMENTUM = ("px", "py", "pz", "E")
_ROLES = ("pair1", "pair2", "recoil")


@dataclass(frozen=True)
class PairingRecipe:
    """How candidates are made from the photons of an event.

    Attributes:
        photons: Prefixes of the photons' branches, two or three.
        momentum: Names of the momentum's components after ``<photon>_``: px, py, pz, E in the laboratory
            in GeV.
        observable: Column that is scanned.
        true_pair: Branch of a signal that numbers the true pairing: 0 = (1,2), 1 = (1,3), 2 = (2,3), and −1
            where the pair is not complete.
        kinematic_fit: Where the ``momentum`` branches are absent, fit the photons' raw momenta to the beams.
        raw_momentum: Components that such a fit starts from.

    Raises:
        InputError: If the photons are not two or three different ones, or there are not four components.
    """

    photons: tuple[str, ...]
    momentum: tuple[str, str, str, str] = RAW_MOMENTUM
    observable: str = "M_gg"
    true_pair: str | None = None
    kinematic_fit: bool = False
    raw_momentum: tuple[str, str, str, str] = field(default=RAW_MOMENTUM)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "photons", tuple(self.photons))
        put(self, "momentum", tuple(self.momentum))
        put(self, "raw_momentum", tuple(self.raw_momentum))
        if len(self.photons) not in (2, 3) or len(set(self.photons)) != len(self.photons):
            raise InputError(
                f"pairings.photons is {list(self.photons)}: two or three different photons are paired"
            )
        for name in ("momentum", "raw_momentum"):
            components = getattr(self, name)
            if len(components) != 4 or len(set(components)) != 4:
                raise InputError(
                    f"pairings.{name} is {list(components)}: px, py, pz, E are needed, in this order"
                )
        if self.kinematic_fit and len(self.photons) != 3:
            raise InputError(
                "pairings.kinematic_fit needs the three photons that carry the whole four-momentum"
            )

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Positions in ``photons`` of each pairing's photons, in the order of ``candidate``."""
        return tuple(combinations(range(len(self.photons)), 2))

    @property
    def kinematic_columns(self) -> tuple[str, ...]:
        """Columns that pairing computes; two photons leave none to recoil."""
        return tuple(name for name in KINEMATIC_COLUMNS if len(self.photons) == 3 or name != "E_recoil")

    def momentum_branches(self, *, fitted: bool) -> tuple[str, ...]:
        """Branches of the momenta: those of ``momentum``, or with ``fitted`` those that a fit starts from."""
        components = self.raw_momentum if fitted else self.momentum
        return tuple(f"{photon}_{component}" for photon in self.photons for component in components)

    def photon_variable(self, column: str) -> str | None:
        """The ``<var>`` of a column ``pair1_<var>``, ``pair2_<var>``, ``recoil_<var>``, or None."""
        role, _, variable = column.partition("_")
        roles = _ROLES if len(self.photons) == 3 else _ROLES[:2]
        return variable if role in roles and variable else None

    def branches_of(self, column: str) -> tuple[str, ...]:
        """Branches that a column ``pair1_<var>`` … is taken from."""
        variable = self.photon_variable(column)
        return tuple(f"{photon}_{variable}" for photon in self.photons) if variable else ()


def photon_momenta(
    columns: Mapping[str, NDArray], photons: Sequence[str], components: Sequence[str]
) -> NDArray[np.float64]:
    """Momenta of each event's photons from columns ``<photon>_<component>``, shape (n, n_photons, 4)."""
    n = len(columns[f"{photons[0]}_{components[0]}"])
    momenta = np.empty((len(photons), 4, n))  # components contiguous: the kernels below run along events
    for i, photon in enumerate(photons):
        for j, component in enumerate(components):
            momenta[i, j] = columns[f"{photon}_{component}"]
    return momenta.transpose(2, 0, 1)


def _dot(a: Sequence[NDArray], b: Sequence[NDArray]) -> NDArray[np.float64]:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def pair_kinematics(
    cms: NDArray[np.float64], pair: tuple[int, int], sqrt_s: float
) -> tuple[dict[str, NDArray], NDArray[np.bool_]]:
    """Masses and angles of one pairing of each event.

    ``pair1`` is the photon of the pair with the higher energy in the centre-of-mass system (CMS). With three
    photons the recoil mass is that of the third, s − 2√s E*; with two it is the missing mass. A negative
    squared mass has the root −√|M²|.

    Args:
        cms: Four-momenta of the photons in the CMS, whose z axis is the electron's direction, shape
            (n_photons, 4, n), px, py, pz, E in GeV.
        pair: Positions of the pair's photons.
        sqrt_s: CMS energy in GeV.

    Returns:
        Columns of shape (n,), and the mask of events in which the pair's second photon is the harder.
    """
    swapped = cms[pair[1], 3] > cms[pair[0], 3]
    hard = np.where(swapped, cms[pair[1]], cms[pair[0]])  # (4, n)
    soft = np.where(swapped, cms[pair[0]], cms[pair[1]])
    total = hard + soft
    momentum2 = _dot(total, total)
    momentum = np.sqrt(momentum2)
    # 2 E1 E2 (1 - cos) by the difference of directions: exact where the photons are nearly parallel
    size_hard, size_soft = np.sqrt(_dot(hard, hard)), np.sqrt(_dot(soft, soft))
    with np.errstate(all="ignore"):
        opening = hard[:3] / size_hard - soft[:3] / size_soft
        mass2 = hard[3] * soft[3] * _dot(opening, opening)
        # massless photons: E1 - E2 = |P| cos of the helicity angle
        cos_helicity = np.clip((hard[3] - soft[3]) / momentum, -1.0, 1.0)
        cos_theta_pair = total[2] / momentum
    if len(cms) == 3:
        (other,) = {0, 1, 2} - set(pair)
        recoil_energy = cms[other, 3]
        recoil2 = sqrt_s**2 - 2 * sqrt_s * recoil_energy
        with np.errstate(all="ignore"):
            cos_theta_recoil = cms[other, 2] / np.sqrt(_dot(cms[other], cms[other]))
    else:
        recoil2 = sqrt_s**2 - 2 * sqrt_s * total[3] + mass2
        cos_theta_recoil = -cos_theta_pair
    # Production plane: beam and pair. y' = z x P, x' = y' x P, with z the electron's direction.
    across = total[0] * hard[1] - total[1] * hard[0]  # |z x P| p.y'
    along = momentum2 * hard[2] - total[2] * _dot(total, hard)  # -|z x P| |P| p.x'
    phi = np.arctan2(across * momentum, -along)
    phi[phi == -np.pi] = np.pi
    columns = {
        "M_gg": np.sqrt(mass2),
        "M2_gg": mass2,
        "M_recoil": np.sign(recoil2) * np.sqrt(np.abs(recoil2)),
        "M2_recoil": recoil2,
        "cosThetaRecoil": cos_theta_recoil,
        "cosHelicity": cos_helicity,
        "phiHelicity": phi,
        "E_pair1": hard[3],
        "E_pair2": soft[3],
        "cosTheta_pair1": hard[2] / size_hard,
        "cosTheta_pair2": soft[2] / size_soft,
    }
    if len(cms) == 3:
        columns["E_recoil"] = recoil_energy
    return columns, swapped


@dataclass(frozen=True)
class Candidates:
    """Candidates of a chunk of events, those of one event in consecutive rows.

    Attributes:
        columns: Name -> values, shape (n_events · n_pairings,).
        event: Position of the event of each row.
        pairing: Number of the pairing of each row: with three photons 0 = (1,2), 1 = (1,3), 2 = (2,3).
    """

    columns: Mapping[str, Any]
    event: NDArray[np.intp]
    pairing: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.event)


def build_candidates(
    columns: Mapping[str, NDArray],
    recipe: PairingRecipe,
    beams: Beams,
    *,
    wanted: Iterable[str] | None = None,
    momenta: NDArray[np.float64] | None = None,
    true_pair: NDArray | None = None,
) -> Candidates:
    """Every pairing of the photons of each event, as rows.

    Args:
        columns: Branches of the events, each of shape (n,), named as the recipe names them.
        recipe: The photons and how their momenta are called.
        beams: The beams.
        wanted: Columns to make: those of pairing, ``pair1_<var>`` …, ``is_true_pair``, and columns of the
            events, which are repeated; None for those of pairing.
        momenta: Laboratory momenta of shape (n, n_photons, 4) where they are not columns (fitted ones).
        true_pair: Number of the true pairing of each event, shape (n,), −1 for none: signal only.

    Raises:
        KeyError: If a column is not there.
    """
    if momenta is None:
        momenta = photon_momenta(columns, recipe.photons, recipe.momentum)
    n, n_pairs = len(momenta), len(recipe.pairs)
    cms = np.matmul(beams.lab_to_cms, momenta.transpose(1, 2, 0))  # (n_photons, 4, n)
    names = list(dict.fromkeys(recipe.kinematic_columns if wanted is None else wanted))
    out: dict[str, Any] = {}
    kinematic = [name for name in names if name in recipe.kinematic_columns]
    for name in kinematic:
        out[name] = np.empty((n, n_pairs), dtype=np.float64 if name in MASS_COLUMNS else np.float32)
    variables = [name for name in names if recipe.photon_variable(name) and name not in kinematic]
    for name in variables:
        types = [columns[branch].dtype for branch in recipe.branches_of(name)]
        out[name] = np.empty((n, n_pairs), dtype=np.result_type(*types))
    for number, pair in enumerate(recipe.pairs):
        made, swapped = pair_kinematics(cms, pair, beams.sqrt_s)
        for name in kinematic:
            out[name][:, number] = made[name]
        for name in variables:
            branches = recipe.branches_of(name)
            first, second = columns[branches[pair[0]]], columns[branches[pair[1]]]
            if name.startswith("pair1_"):
                out[name][:, number] = np.where(swapped, second, first)
            elif name.startswith("pair2_"):
                out[name][:, number] = np.where(swapped, first, second)
            else:
                (other,) = {0, 1, 2} - set(pair)
                out[name][:, number] = columns[branches[other]]
    numbers = np.arange(n_pairs, dtype=np.int32)
    for name in names:
        if name == TRUE_PAIR_COLUMN:
            out[name] = (
                np.zeros((n, n_pairs), dtype=bool) if true_pair is None else true_pair[:, None] == numbers
            )
        elif name not in out:
            out[name] = columns[name].take(np.repeat(np.arange(n), n_pairs))  # a list per row, too
    return Candidates(
        {name: values if isinstance(values := out[name], Lists) else values.reshape(-1) for name in names},
        np.repeat(np.arange(n), n_pairs),
        np.tile(numbers, n),
    )

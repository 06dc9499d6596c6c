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
AZIMUTH_COLUMNS = ("phi_pair1", "phi_pair2", "phi_recoil")
EXTRA_COLUMNS = ("n_photons", "E_extra", "cosTheta_extra", "phi_extra")  # where there may be four photons
TRUE_PAIR_COLUMN = "is_true_pair"
FIT_CHI2_COLUMN = "fit_chi2"
RAW_MOMENTUM = ("px", "py", "pz", "E")
_ROLES = ("pair1", "pair2", "recoil", "extra")
MAX_PHOTONS = len(_ROLES)


@dataclass(frozen=True)
class PairingRecipe:
    """How candidates are made from the photons of an event.

    Attributes:
        photons: Prefixes of the photons' branches, two, three or four. With four an event may lack the
            third and the fourth, whose momenta are NaN then.
        momentum: Names of the momentum's components after ``<photon>_``: px, py, pz, E in the laboratory
            in GeV.
        observable: Column that is scanned.
        true_pair: Branch of a signal that numbers the true pairing: 0 = (1,2), 1 = (1,3), 2 = (2,3),
            3 = (1,4), 4 = (2,4), 5 = (3,4), and −1 where the pair is not complete.
        kinematic_fit: Where the ``momentum`` branches are absent, fit the photons' raw momenta to the beams.
        raw_momentum: Components that such a fit starts from.

    Raises:
        InputError: If the photons are not two to four different ones, or there are not four components.
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
        if not 2 <= len(self.photons) <= MAX_PHOTONS or len(set(self.photons)) != len(self.photons):
            raise InputError(
                f"pairings.photons is {list(self.photons)}: two, three or four different photons are paired"
            )
        for name in ("momentum", "raw_momentum"):
            components = getattr(self, name)
            if len(components) != 4 or len(set(components)) != 4:
                raise InputError(
                    f"pairings.{name} is {list(components)}: px, py, pz, E are needed, in this order"
                )
        if self.kinematic_fit and len(self.photons) < 3:
            raise InputError(
                "pairings.kinematic_fit needs three photons or four, which carry the whole four-momentum"
            )

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Positions in ``photons`` of each pairing's photons, in the order of ``candidate``."""
        return tuple(sorted(combinations(range(len(self.photons)), 2), key=lambda pair: pair[::-1]))

    @property
    def may_lack_photons(self) -> bool:
        """Whether an event may have fewer photons than are named."""
        return len(self.photons) == MAX_PHOTONS

    @property
    def kinematic_columns(self) -> tuple[str, ...]:
        """Columns that pairing computes; two photons leave none to recoil."""
        if len(self.photons) == 2:
            return (*(name for name in KINEMATIC_COLUMNS if name != "E_recoil"), *AZIMUTH_COLUMNS[:2])
        return (*KINEMATIC_COLUMNS, *AZIMUTH_COLUMNS, *(EXTRA_COLUMNS if self.may_lack_photons else ()))

    @property
    def absent_columns(self) -> tuple[str, ...]:
        """Columns of pairing that are NaN for photons that an event lacks."""
        return ("E_recoil", "phi_recoil", *EXTRA_COLUMNS[1:]) if self.may_lack_photons else ()

    def may_be_absent(self, column: str) -> bool:
        """Whether a column describes a photon that an event may lack: NaN there."""
        variable = self.photon_variable(column) is not None and column.startswith(_ROLES[2:])
        return self.may_lack_photons and (variable or column in self.absent_columns)

    def absent_branches(self, *, fitted: bool) -> tuple[str, ...]:
        """Branches of momenta that are NaN where an event lacks the photon."""
        branches = self.momentum_branches(fitted=fitted)
        return branches[2 * len(branches) // MAX_PHOTONS :] if self.may_lack_photons else ()

    def momentum_branches(self, *, fitted: bool) -> tuple[str, ...]:
        """Branches of the momenta: those of ``momentum``, or with ``fitted`` those that a fit starts from."""
        components = self.raw_momentum if fitted else self.momentum
        return tuple(f"{photon}_{component}" for photon in self.photons for component in components)

    def photon_variable(self, column: str) -> str | None:
        """The ``<var>`` of a column ``pair1_<var>``, ``recoil_<var>`` …, or None."""
        role, _, variable = column.partition("_")
        return variable if role in _ROLES[: len(self.photons)] and variable else None

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


@dataclass(frozen=True)
class PairKinematics:
    """Masses and angles of one pairing, and which photon has which part in it.

    Attributes:
        columns: Name -> values, shape (n,).
        place: Role -> position of the photon that has it, shape (n,).
    """

    columns: Mapping[str, NDArray]
    place: Mapping[str, NDArray[np.intp]]


def pair_kinematics(
    cms: NDArray[np.float64], pair: tuple[int, int], sqrt_s: float, *, azimuths: bool = False
) -> PairKinematics:
    """Masses and angles of one pairing of each event.

    ``pair1`` is the photon of the pair with the higher energy in the centre-of-mass system (CMS), ``recoil``
    the hardest of the others and ``extra`` the last. The recoil mass is that against the recoil photon,
    s − 2√s E*; where there is none, the missing mass. A negative squared mass has the root −√|M²|.

    Args:
        cms: Four-momenta of the photons in the CMS, whose z axis is the electron's direction, shape
            (n_photons, 4, n), px, py, pz, E in GeV; NaN for a photon that is not there.
        pair: Positions of the pair's photons.
        sqrt_s: CMS energy in GeV.
        azimuths: Also those of all photons in the CMS.
    """
    swapped = cms[pair[1], 3] > cms[pair[0], 3]
    hard = np.where(swapped, cms[pair[1]], cms[pair[0]])  # (4, n)
    soft = np.where(swapped, cms[pair[0]], cms[pair[1]])
    place = {"pair1": np.where(swapped, pair[1], pair[0]), "pair2": np.where(swapped, pair[0], pair[1])}
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
    missing2 = sqrt_s**2 - 2 * sqrt_s * total[3] + mass2
    roles = {"pair1": hard, "pair2": soft}
    others = [i for i in range(len(cms)) if i not in pair]
    if len(others) == 2:
        first, second = cms[others[0]], cms[others[1]]
        turned = np.isnan(first[3]) | (second[3] > first[3])
        roles["recoil"] = np.where(turned, second, first)
        roles["extra"] = np.where(turned, first, second)
        place["recoil"] = np.where(turned, others[1], others[0])
        place["extra"] = np.where(turned, others[0], others[1])
    elif others:
        roles["recoil"] = cms[others[0]]
        place["recoil"] = np.full(cms.shape[2], others[0])
    recoil2, cos_theta_recoil = missing2, -cos_theta_pair
    if others:
        recoil = roles["recoil"]
        with np.errstate(all="ignore"):
            recoil2 = sqrt_s**2 - 2 * sqrt_s * recoil[3]
            cos_theta_recoil = recoil[2] / np.sqrt(_dot(recoil, recoil))
        if len(others) == 2:
            lost = np.isnan(recoil[3])
            recoil2 = np.where(lost, missing2, recoil2)
            cos_theta_recoil = np.where(lost, -cos_theta_pair, cos_theta_recoil)
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
    if "recoil" in roles:
        columns["E_recoil"] = roles["recoil"][3]
    if "extra" in roles:
        extra = roles["extra"]
        columns["E_extra"] = extra[3]
        columns["cosTheta_extra"] = extra[2] / np.sqrt(_dot(extra, extra))
        columns["n_photons"] = np.isfinite(cms[:, 3]).sum(axis=0)
    if azimuths:
        columns |= {f"phi_{role}": np.arctan2(p[1], p[0]) for role, p in roles.items()}
    return PairKinematics(columns, place)


@dataclass(frozen=True)
class Candidates:
    """Candidates of a chunk of events, those of one event in consecutive rows.

    Attributes:
        columns: Name -> values, shape (n_candidates,).
        event: Position of the event of each row.
        pairing: Number of the pairing of each row, as of ``PairingRecipe.true_pair``.
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
    """Every pairing of the photons of each event, as rows; those of absent photons are left out.

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
    azimuths = any(name in kinematic for name in (*AZIMUTH_COLUMNS, "phi_extra"))
    for number, pair in enumerate(recipe.pairs):
        made = pair_kinematics(cms, pair, beams.sqrt_s, azimuths=azimuths)
        for name in kinematic:
            out[name][:, number] = made.columns[name]
        for name in variables:
            place = made.place[name.partition("_")[0]]
            values = [columns[branch] for branch in recipe.branches_of(name)]
            out[name][:, number] = np.choose(place, values)
    numbers = np.arange(n_pairs, dtype=np.int32)
    for name in names:
        if name == TRUE_PAIR_COLUMN:
            out[name] = (
                np.zeros((n, n_pairs), dtype=bool) if true_pair is None else true_pair[:, None] == numbers
            )
        elif name not in out:
            out[name] = columns[name].take(np.repeat(np.arange(n), n_pairs))  # a list per row, too
    made_columns = {
        name: values if isinstance(values := out[name], Lists) else values.reshape(-1) for name in names
    }
    event, pairing = np.repeat(np.arange(n), n_pairs), np.tile(numbers, n)
    if recipe.may_lack_photons:
        there = np.isfinite(cms[:, 3])  # (n_photons, n)
        both = np.stack([there[i] & there[j] for i, j in recipe.pairs], axis=1).reshape(-1)
        kept = np.flatnonzero(both)
        made_columns = {name: values.take(kept) for name, values in made_columns.items()}
        event, pairing = event[kept], pairing[kept]
    return Candidates(made_columns, event, pairing)

"""A quick generator of photon pairs at leading order, independent of the package's simulation."""

import numpy as np
import pytest

from darksieve.datasets.events import Events, Role, SampleInfo, concatenate

SQRT_S = 10.58  # GeV


def _draw(rng, masses):
    """Pairs flat in the angles of their decay, with density ~ 1/(1.05 - c²) in their own cosine c."""
    n = len(masses)
    edge = np.sqrt(1.05)
    limit = np.arctanh(1 / edge)
    cos_pair = edge * np.tanh(rng.uniform(-limit, limit, n))
    proposal = 1 / (1.05 - cos_pair**2)
    cos_helicity, phi = rng.uniform(0, 1, n), rng.uniform(-np.pi, np.pi, n)
    e_recoil = (SQRT_S**2 - masses**2) / (2 * SQRT_S)
    gamma, beta_gamma = (SQRT_S - e_recoil) / masses, e_recoil / masses
    sin_pair = np.sqrt(1 - cos_pair**2)
    columns = {"M_gg": masses, "E_recoil": e_recoil, "cosThetaRecoil": -cos_pair}
    columns |= {"cosHelicity": cos_helicity, "phiHelicity": phi}
    for name, sign in (("pair1", 1), ("pair2", -1)):
        along = masses / 2 * (sign * gamma * cos_helicity + beta_gamma)
        across = masses / 2 * sign * np.sqrt(1 - cos_helicity**2) * np.cos(phi)  # in the production plane
        energy = masses / 2 * (gamma + sign * beta_gamma * cos_helicity)
        columns[f"E_{name}"] = energy
        columns[f"cosTheta_{name}"] = np.clip((cos_pair * along - sin_pair * across) / energy, -1, 1)
    inside = np.ones(n, dtype=bool)
    for photon in ("pair1", "pair2"):
        inside &= (columns[f"E_{photon}"] > 0.5) & (np.abs(columns[f"cosTheta_{photon}"]) < 0.94)
    inside &= (e_recoil > 0.5) & (np.abs(cos_pair) < 0.94)
    return {name: values[inside] for name, values in columns.items()}, proposal[inside]


def _squared_matrix_element(columns):
    """Sum over photons of k k' (k² + k'²) over the product of all k k'."""
    numerator, product = 0.0, 1.0
    for energy, cosine in (
        ("E_pair1", "cosTheta_pair1"),
        ("E_pair2", "cosTheta_pair2"),
        ("E_recoil", "cosThetaRecoil"),
    ):
        k, k_prime = columns[energy] * (1 - columns[cosine]), columns[energy] * (1 + columns[cosine])
        numerator = numerator + k * k_prime * (k**2 + k_prime**2)
        product = product * k * k_prime
    return numerator / product


@pytest.fixture(scope="session")
def log_likelihood_ratio_of_test():
    """Exact ln of signal over QED at a candidate's own mass."""

    def ratio(columns):
        return np.log(1 + columns["cosThetaRecoil"] ** 2) - np.log(_squared_matrix_element(columns))

    return ratio


@pytest.fixture(scope="session")
def generate_pairs():
    """Unweighted pairs: ``generate_pairs(rng, n, is_signal, draw_masses)`` -> columns of n rows."""

    def generate(rng, n, is_signal, draw_masses):
        kept, total, scale = [], 0, None
        while total < n:
            masses = draw_masses(rng, 400_000 if n > 10_000 else 40_000)
            columns, proposal = _draw(rng, masses)
            if is_signal:
                density = 1 + columns["cosThetaRecoil"] ** 2
            else:
                density = _squared_matrix_element(columns) * columns["E_recoil"] * columns["M_gg"]
            weight = density / proposal
            scale = 1.2 * weight.max() if scale is None else max(scale, weight.max())
            accepted = rng.random(len(weight)) * scale < weight
            kept.append({name: values[accepted] for name, values in columns.items()})
            total += accepted.sum()
        return {name: np.concatenate([part[name] for part in kept])[:n] for name in kept[0]}

    return generate


@pytest.fixture(scope="session")
def make_events(generate_pairs):
    """Events of QED and of signal with masses flat in a range."""

    def one(rng, n, name, role, draw_masses, offset):
        columns = generate_pairs(rng, n, role is Role.SIGNAL, draw_masses)
        order = rng.permutation(n)
        columns = {k: v[order].astype(np.float32) for k, v in columns.items()}
        columns["__event__"] = offset + np.arange(n)
        columns["is_true_pair"] = np.full(n, role is Role.SIGNAL)
        return Events(
            columns=columns,
            samples=(SampleInfo(name, role),),
            sample_index=np.zeros(n),
            weight=np.ones(n),
            mass=columns["M_gg"] if role is Role.SIGNAL else np.full(n, np.nan),
            key=(offset + np.arange(n)).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15),
            candidate=np.zeros(n),
        )

    def make(n_signal, n_background, seed=1, low=0.3, high=9.5):
        rng = np.random.default_rng(seed)

        def flat(rng, n):
            return rng.uniform(low, high, n)

        return concatenate(
            [
                one(rng, n_signal, "alp", Role.SIGNAL, flat, 0),
                one(rng, n_background, "qed", Role.BACKGROUND, flat, 10_000_000),
            ]
        )

    return make

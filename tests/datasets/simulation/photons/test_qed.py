"""Three-photon matrix element, cross section and unweighted events."""

from itertools import permutations

import numpy as np
import pytest

from darksieve.constants import ALPHA_QED, GEV2_TO_FB
from darksieve.datasets.simulation.photons.qed import ThreePhotonGenerator, three_photon_matrix_element
from darksieve.errors import InputError

SQRT_S = 10.58

# gamma matrices in the chiral representation
_PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
_ZERO, _ONE = np.zeros((2, 2)), np.eye(2)
_GAMMA = [np.block([[_ZERO, _ONE], [_ONE, _ZERO]])] + [np.block([[_ZERO, s], [-s, _ZERO]]) for s in _PAULI]


def slash(p):
    """Feynman slash of (px, py, pz, E)."""
    return p[3] * _GAMMA[0] - sum(p[i] * _GAMMA[i + 1] for i in range(3))


def polarisations(k):
    """Two real transverse polarisation vectors of a photon, as four-vectors."""
    axis = k[:3] / k[3]
    first = np.cross(axis, [0.3, -0.5, 0.81])
    first /= np.linalg.norm(first)
    return [np.append(first, 0), np.append(np.cross(axis, first), 0)]


def dirac_trace(photons, sqrt_s):
    """Spin-averaged |M|² from six Feynman diagrams, summed over spins by the trace, over physical photons."""
    electron = np.array([0, 0, 1, 1]) * sqrt_s / 2
    positron = np.array([0, 0, -1, 1]) * sqrt_s / 2

    def propagator(p):
        return slash(p) / (p[3] ** 2 - p[:3] @ p[:3])

    total = 0.0
    for e0 in polarisations(photons[0]):
        for e1 in polarisations(photons[1]):
            for e2 in polarisations(photons[2]):
                epsilon = [slash(e0), slash(e1), slash(e2)]
                amplitude = sum(
                    epsilon[c]
                    @ propagator(electron - photons[a] - photons[b])
                    @ epsilon[b]
                    @ propagator(electron - photons[a])
                    @ epsilon[a]
                    for a, b, c in permutations(range(3))
                )
                bar = _GAMMA[0] @ amplitude.conj().T @ _GAMMA[0]
                total += np.trace(slash(positron) @ amplitude @ slash(electron) @ bar).real
    return (4 * np.pi * ALPHA_QED) ** 3 * total / 4


def rambo(rng, n):
    """Flat three-photon phase space (massless RAMBO), shape (n, 3, 4), and its volume in GeV²."""
    cosine, azimuth = rng.uniform(-1, 1, (n, 3)), rng.uniform(0, 2 * np.pi, (n, 3))
    energy = -np.log(rng.random((n, 3)) * rng.random((n, 3)))
    sine = np.sqrt(1 - cosine**2)
    q = energy[..., None] * np.stack(
        [sine * np.cos(azimuth), sine * np.sin(azimuth), cosine, np.ones_like(cosine)], -1
    )
    total = q.sum(1)
    mass = np.sqrt(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(1))
    boost, gamma = -total[:, :3] / mass[:, None], total[:, 3] / mass
    dot = (q[..., :3] * boost[:, None]).sum(-1)
    space = q[..., :3] + boost[:, None] * (q[..., 3] + dot / (1 + gamma)[:, None])[..., None]
    time = gamma[:, None] * q[..., 3] + dot
    photons = np.concatenate([space, time[..., None]], -1) * (SQRT_S / mass)[:, None, None]
    return photons, SQRT_S**2 / (256 * np.pi**3)


def in_cuts(photons, min_energy, max_cosine):
    energy = photons[..., 3]
    return ((energy > min_energy) & (abs(photons[..., 2] / energy) < max_cosine)).all(axis=1)


def test_matrix_element_equals_the_dirac_trace():
    photons, _ = rambo(np.random.default_rng(3), 12)
    expected = [dirac_trace(event, SQRT_S) for event in photons]
    np.testing.assert_allclose(three_photon_matrix_element(photons, SQRT_S), expected, rtol=1e-9)


def test_matrix_element_is_symmetric_in_the_photons_and_under_charge_conjugation():
    photons, _ = rambo(np.random.default_rng(4), 50)
    reference = three_photon_matrix_element(photons, SQRT_S)
    np.testing.assert_allclose(
        three_photon_matrix_element(photons[:, [2, 0, 1]], SQRT_S), reference, rtol=1e-12
    )
    np.testing.assert_allclose(
        three_photon_matrix_element(photons * [1, 1, -1, 1], SQRT_S), reference, rtol=1e-12
    )


def test_matrix_element_refuses_other_multiplicities():
    with pytest.raises(ValueError, match="three four-momenta"):
        three_photon_matrix_element(np.ones((5, 2, 4)), SQRT_S)


def test_cross_section_in_the_barrel_is_34_2_pb():
    # 34.20 ± 0.02 pb and, by flat phase space, 34.27 ± 0.05 pb from earlier independent programs
    generator = ThreePhotonGenerator(SQRT_S, 0.65, -0.85, 0.85)
    assert generator.cross_section_error_fb < 30
    assert generator.cross_section_fb == pytest.approx(34_200, abs=100)


@pytest.mark.parametrize(("min_energy", "expected_pb", "error_pb"), [(0.2, 150.3, 0.2), (0.5, 100.7, 0.07)])
def test_cross_section_in_the_calorimeter_agrees_with_earlier_numbers(min_energy, expected_pb, error_pb):
    generator = ThreePhotonGenerator(SQRT_S, min_energy, -0.9475, 0.96)
    tolerance = 4 * np.hypot(error_pb, generator.cross_section_error_fb / 1e3)
    assert generator.cross_section_fb / 1e3 == pytest.approx(expected_pb, abs=tolerance)


def test_cross_section_and_shape_agree_with_flat_phase_space():
    rng = np.random.default_rng(5)
    photons, volume = rambo(rng, 800_000)
    photons = photons[in_cuts(photons, 0.65, 0.85)]
    n_points = 800_000
    weight = (
        GEV2_TO_FB * three_photon_matrix_element(photons, SQRT_S) * volume / (6 * 2 * SQRT_S**2 * n_points)
    )
    sigma, error = weight.sum(), np.sqrt((weight**2).sum())
    generator = ThreePhotonGenerator(SQRT_S, 0.65, -0.85, 0.85)
    assert abs(sigma - generator.cross_section_fb) < 4 * np.hypot(error, generator.cross_section_error_fb)

    events = generator.generate(rng, 100_000)

    def observables(p):
        energy = np.sort(p[..., 3], axis=1)
        cosine = np.sort(abs(p[..., 2] / p[..., 3]), axis=1)
        return [energy[:, 0], energy[:, 1], energy[:, 2], cosine[:, 0], cosine[:, 2]]

    for flat, unweighted in zip(observables(photons), observables(events), strict=True):
        edges = np.quantile(unweighted, np.linspace(0, 1, 11))
        edges[0], edges[-1] = -np.inf, np.inf
        expected = np.histogram(flat, edges, weights=weight)[0] / sigma
        variance = np.histogram(flat, edges, weights=weight**2)[0] / sigma**2
        observed = np.histogram(unweighted, edges)[0] / len(unweighted)
        pull = (observed - expected) / np.sqrt(variance + observed / len(unweighted))
        assert abs(pull).max() < 4.5


@pytest.mark.parametrize("cuts", [(0.46, -0.96, 0.976), (0.05, -0.85, 0.6), (2.0, -0.99, 0.99)])
def test_events_close_and_stay_inside_the_cuts(cuts):
    generator = ThreePhotonGenerator(SQRT_S, *cuts)
    photons, n_trials, n_over = generator.generate_counted(np.random.default_rng(6), 50_000)
    np.testing.assert_allclose(photons.sum(axis=1), np.tile([0, 0, 0, SQRT_S], (50_000, 1)), atol=1e-12)
    np.testing.assert_allclose(photons[..., 3], np.linalg.norm(photons[..., :3], axis=-1), rtol=1e-12)
    cosine = photons[..., 2] / photons[..., 3]
    assert photons[..., 3].min() >= cuts[0] * (1 - 1e-12)
    assert cosine.min() >= cuts[1] - 1e-12
    assert cosine.max() <= cuts[2] + 1e-12
    assert n_over <= 1  # the maximum is climbed to: unweighted to one event in 50,000 and better
    spread = np.sqrt(generator.efficiency / n_trials)
    error = generator.efficiency * generator.cross_section_error_fb / generator.cross_section_fb
    assert 50_000 / n_trials == pytest.approx(generator.efficiency, abs=4 * np.hypot(spread, error))


def test_same_stream_gives_the_same_events():
    generator = ThreePhotonGenerator(SQRT_S)
    first, again, other = (generator.generate(np.random.default_rng(seed), 1000) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not (first == other).any()


@pytest.mark.parametrize(
    ("cuts", "message"),
    [
        ((0.0, -0.9, 0.9), "min_energy is 0.0"),
        ((4.0, -0.9, 0.9), "min_energy is 4.0"),
        ((0.5, -1, 0.9), "cos θ"),
    ],
)
def test_cuts_without_phase_space_or_on_a_pole_are_refused(cuts, message):
    with pytest.raises(InputError, match=message):
        ThreePhotonGenerator(SQRT_S, *cuts)

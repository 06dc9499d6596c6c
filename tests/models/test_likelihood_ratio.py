import numpy as np
import pytest

from darksieve.models.likelihood_ratio import cms_momenta, log_likelihood_ratio, mean_ratio_in_mass

SQRT_S = 10.58


def three_photons(n, seed=1):
    """Momenta of shape (n, 3, 4) that add up to (0, 0, 0, sqrt s), and their candidate columns."""
    rng = np.random.default_rng(seed)
    flat = rng.normal(size=(n, 3, 3))
    flat -= flat.mean(axis=1, keepdims=True)
    energy = np.linalg.norm(flat, axis=2)
    flat *= SQRT_S / energy.sum(axis=1)[:, None, None]
    momenta = np.concatenate([flat, np.linalg.norm(flat, axis=2)[..., None]], axis=2)
    columns = {}
    for i, name in enumerate(("pair1", "pair2", "recoil")):
        columns[f"E_{name}"] = momenta[:, i, 3]
        columns["cosThetaRecoil" if name == "recoil" else f"cosTheta_{name}"] = (
            momenta[:, i, 2] / momenta[:, i, 3]
        )
    return momenta, columns


def test_momenta_are_rebuilt_up_to_a_rotation():
    momenta, columns = three_photons(2000)
    rebuilt = cms_momenta(columns)
    np.testing.assert_allclose(rebuilt.sum(axis=1), momenta.sum(axis=1), atol=2e-6)

    def products(p):
        return np.einsum("nid,njd,d->nij", p, p, [-1, -1, -1, 1])

    np.testing.assert_allclose(products(rebuilt), products(momenta), atol=1e-5)


def test_ratio_is_that_of_the_formula():
    momenta, columns = three_photons(500)
    k = momenta[:, :, 3] - momenta[:, :, 2]
    k_prime = momenta[:, :, 3] + momenta[:, :, 2]
    squared = (k * k_prime * (k**2 + k_prime**2)).sum(axis=1) / (k * k_prime).prod(axis=1)
    expected = np.log((1 + columns["cosThetaRecoil"] ** 2) / squared)
    difference = log_likelihood_ratio(columns, sqrt_s=SQRT_S) - expected
    np.testing.assert_allclose(difference, difference[0], atol=1e-6)


def test_ratio_falls_where_a_photon_is_soft_or_along_the_beam():
    columns = {
        name: np.array([value, value])
        for name, value in {
            "E_pair1": 3.6,
            "E_pair2": 3.4,
            "E_recoil": 3.58,
            "cosTheta_pair1": 0.1,
            "cosTheta_pair2": -0.1,
            "cosThetaRecoil": 0.0,
        }.items()
    }
    columns["cosTheta_pair2"][1] = -0.99
    ratio = log_likelihood_ratio(columns)
    assert ratio[1] < ratio[0]


@pytest.mark.parametrize("n", [0, 1])
def test_few_rows_are_fine(n):
    _, columns = three_photons(n) if n else (None, {k: v[:0] for k, v in three_photons(1)[1].items()})
    assert log_likelihood_ratio(columns).shape == (n,)


def test_photons_along_the_beam_give_no_warnings_of_division():
    columns = dict.fromkeys(("E_pair1", "E_pair2", "E_recoil"), np.array([3.0]))
    columns |= {"cosTheta_pair1": np.array([1.0]), "cosTheta_pair2": np.array([0.5])}
    columns |= {"cosThetaRecoil": np.array([-1.0])}
    assert np.isfinite(cms_momenta(columns)).all()


def test_a_factor_that_depends_on_the_mass_alone_is_taken_out():
    rng = np.random.default_rng(2)
    n = 200_000
    mass, ratio = rng.uniform(9.7, 9.9, n), rng.exponential(1.0, n)  # mean 1 at each mass
    factor = 3.0 - 4.0 * (mass - 9.8)
    mean = mean_ratio_in_mass(np.log(ratio) + factor, mass, rng.uniform(0.5, 1.5, n))
    # twenty slices of 10⁴ exponential values: 1 % each, a parabola's ends less than 1 %
    np.testing.assert_allclose(mean(mass), factor, atol=0.03)

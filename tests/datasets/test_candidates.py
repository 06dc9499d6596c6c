"""Pairing of photons into candidates."""

import numpy as np
import pytest

from darksieve.datasets.beams import Beams
from darksieve.datasets.candidates import (
    KINEMATIC_COLUMNS,
    PairingRecipe,
    build_candidates,
    photon_momenta,
)
from darksieve.errors import InputError

BEAMS = Beams.named("belle2")
PHOTONS = ("gamma1", "gamma2", "gamma3")
RECIPE = PairingRecipe(PHOTONS, true_pair="genPair")


def boost(p, velocity):
    """Four-vectors (..., 4) seen from a frame that moves with ``velocity``, independently of Beams."""
    beta2 = (velocity**2).sum(-1)
    gamma = 1 / np.sqrt(1 - beta2)
    along = (p[..., :3] * velocity).sum(-1)
    energy = gamma * (p[..., 3] - along)
    space = p[..., :3] + ((gamma - 1) * along / beta2 - gamma * p[..., 3])[..., None] * velocity
    return np.concatenate([space, energy[..., None]], axis=-1)


def signal_events(n, mass, rng):
    """e+e- -> gamma a, a -> gamma gamma: laboratory momenta (n, 3, 4) and the angles of the CMS."""
    sqrt_s = BEAMS.sqrt_s
    cos_a, phi_a = rng.uniform(-0.95, 0.95, n), rng.uniform(-np.pi, np.pi, n)
    cos_h, phi_h = rng.uniform(0.01, 0.99, n), rng.uniform(-np.pi, np.pi, n)
    momentum = (sqrt_s**2 - mass**2) / (2 * sqrt_s)
    sin_a = np.sqrt(1 - cos_a**2)
    axis = np.stack([sin_a * np.cos(phi_a), sin_a * np.sin(phi_a), cos_a], -1)
    z = np.array([0.0, 0.0, 1.0])
    y_axis = np.cross(z, axis) / sin_a[:, None]
    x_axis = np.cross(y_axis, axis)
    sin_h = np.sqrt(1 - cos_h**2)
    direction = cos_h[:, None] * axis + sin_h[:, None] * (
        np.cos(phi_h)[:, None] * x_axis + np.sin(phi_h)[:, None] * y_axis
    )
    half = mass / 2
    rest = np.stack([direction, -direction], axis=1) * half
    rest = np.concatenate([rest, np.full((n, 2, 1), half)], axis=-1)
    energy = np.sqrt(momentum**2 + mass**2)
    pair = boost(rest, -(axis * momentum / energy)[:, None, :])
    recoil = np.concatenate([-axis * momentum, np.full((n, 1), momentum)], axis=-1)
    cms = np.concatenate([pair, recoil[:, None]], axis=1)
    return BEAMS.to_lab(cms), {"cosHelicity": cos_h, "phiHelicity": phi_h, "cosThetaRecoil": -cos_a}


def columns_of(momenta, **more):
    columns = {
        f"{photon}_{component}": momenta[:, i, j]
        for i, photon in enumerate(PHOTONS[: momenta.shape[1]])
        for j, component in enumerate(("px", "py", "pz", "E"))
    }
    return columns | more


@pytest.mark.parametrize("mass", [0.2, 2.0, 5.0, 9.5])
def test_true_pair_has_the_mass_and_the_angles_it_was_made_with(mass):
    lab, angles = signal_events(500, mass, np.random.default_rng(1))
    made = build_candidates(columns_of(lab), RECIPE, BEAMS)
    first = made.pairing == 0
    np.testing.assert_allclose(made.columns["M_gg"][first], mass, rtol=1e-9)
    np.testing.assert_allclose(made.columns["M_recoil"][first], mass, rtol=1e-7)
    for name, expected in angles.items():
        np.testing.assert_allclose(made.columns[name][first], expected, atol=2e-6, err_msg=name)
    np.testing.assert_allclose(made.columns["M_gg"] ** 2, made.columns["M2_gg"], rtol=1e-12)


def test_three_pairings_are_consecutive_rows_in_the_documented_order():
    lab, _ = signal_events(50, 3.0, np.random.default_rng(2))
    made = build_candidates(columns_of(lab), RECIPE, BEAMS)
    np.testing.assert_array_equal(made.event, np.repeat(np.arange(50), 3))
    np.testing.assert_array_equal(made.pairing, np.tile([0, 1, 2], 50))
    for number, (i, j) in enumerate([(0, 1), (0, 2), (1, 2)]):
        total = lab[:, i] + lab[:, j]
        mass = np.sqrt(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(-1))
        np.testing.assert_allclose(made.columns["M_gg"][number::3], mass, rtol=1e-6)


def test_squared_masses_of_the_pairings_add_up_to_s():
    lab, _ = signal_events(50, 3.0, np.random.default_rng(3))
    made = build_candidates(columns_of(lab), RECIPE, BEAMS)
    np.testing.assert_allclose(made.columns["M2_gg"].reshape(-1, 3).sum(axis=1), BEAMS.sqrt_s**2, rtol=1e-9)
    np.testing.assert_allclose(made.columns["M2_recoil"], made.columns["M2_gg"], atol=1e-7)


def test_pair1_is_the_harder_photon_in_the_cms_and_its_variables_follow():
    lab, _ = signal_events(300, 4.0, np.random.default_rng(4))
    energy = BEAMS.to_cms(lab)[..., 3]
    number = {f"{photon}_id": np.full(300, i, dtype=np.int32) for i, photon in enumerate(PHOTONS)}
    wanted = ["E_pair1", "E_pair2", "E_recoil", "pair1_id", "pair2_id", "recoil_id"]
    made = build_candidates(columns_of(lab, **number), RECIPE, BEAMS, wanted=wanted)
    assert list(made.columns) == wanted
    assert made.columns["pair1_id"].dtype == np.int32
    assert (made.columns["E_pair1"] >= made.columns["E_pair2"]).all()
    for role in ("pair1", "pair2", "recoil"):
        own = energy[made.event, made.columns[f"{role}_id"]]
        np.testing.assert_allclose(made.columns[f"E_{role}"], own, rtol=1e-6)
    ids = np.stack([made.columns[f"{role}_id"] for role in ("pair1", "pair2", "recoil")], -1)
    np.testing.assert_array_equal(np.sort(ids, axis=1), np.tile([0, 1, 2], (len(made), 1)))
    np.testing.assert_array_equal(made.columns["recoil_id"], 2 - made.pairing)


def test_true_pair_is_marked_and_incomplete_pairs_never():
    lab, _ = signal_events(4, 4.0, np.random.default_rng(5))
    made = build_candidates(
        columns_of(lab), RECIPE, BEAMS, wanted=["is_true_pair"], true_pair=np.array([0, 2, -1, 1])
    )
    expected = [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0]]
    np.testing.assert_array_equal(made.columns["is_true_pair"].reshape(4, 3), np.array(expected, dtype=bool))


def test_background_has_no_true_pair():
    lab, _ = signal_events(4, 4.0, np.random.default_rng(5))
    made = build_candidates(columns_of(lab), RECIPE, BEAMS, wanted=["is_true_pair"])
    assert not made.columns["is_true_pair"].any()


def test_two_photons_make_one_candidate_with_the_missing_mass():
    lab, angles = signal_events(200, 3.0, np.random.default_rng(6))
    recipe = PairingRecipe(PHOTONS[:2])
    made = build_candidates(columns_of(lab[:, :2]), recipe, BEAMS)
    assert len(made) == 200
    assert set(made.columns) == set(KINEMATIC_COLUMNS) - {"E_recoil"} | {"phi_pair1", "phi_pair2"}
    np.testing.assert_allclose(made.columns["M_gg"], 3.0, rtol=1e-9)
    np.testing.assert_allclose(made.columns["M2_recoil"], 0.0, atol=1e-9)
    np.testing.assert_allclose(made.columns["cosThetaRecoil"], angles["cosThetaRecoil"], atol=1e-6)


def test_columns_of_the_event_are_repeated():
    lab, _ = signal_events(5, 3.0, np.random.default_rng(7))
    made = build_candidates(columns_of(lab, visible=np.arange(5)), RECIPE, BEAMS, wanted=["visible"])
    np.testing.assert_array_equal(made.columns["visible"], np.repeat(np.arange(5), 3))


def test_order_of_events_does_not_matter():
    lab, _ = signal_events(60, 3.0, np.random.default_rng(8))
    order = np.random.default_rng(9).permutation(60)
    made = build_candidates(columns_of(lab), RECIPE, BEAMS)
    permuted = build_candidates(columns_of(lab[order]), RECIPE, BEAMS)
    rows = (order[:, None] * 3 + np.arange(3)).ravel()
    for name in KINEMATIC_COLUMNS:
        np.testing.assert_allclose(permuted.columns[name], made.columns[name][rows], rtol=1e-12, atol=1e-12)


def test_nearly_parallel_photons_keep_their_mass_in_single_precision():
    # 20 mrad apart at 5 GeV: the mass by E^2 - p^2 would lose half its digits
    lab, _ = signal_events(300, 0.05, np.random.default_rng(10))
    made = build_candidates(columns_of(lab.astype(np.float32)), RECIPE, BEAMS, wanted=["M_gg"])
    np.testing.assert_allclose(made.columns["M_gg"][0::3], 0.05, atol=2e-5)


def test_masses_are_double_and_angles_single_precision():
    lab, _ = signal_events(5, 3.0, np.random.default_rng(7))
    made = build_candidates(columns_of(lab), RECIPE, BEAMS)
    assert made.columns["M_gg"].dtype == np.float64
    assert made.columns["cosHelicity"].dtype == np.float32


def test_momenta_come_in_the_order_of_the_recipe():
    lab, _ = signal_events(5, 3.0, np.random.default_rng(7))
    np.testing.assert_array_equal(photon_momenta(columns_of(lab), PHOTONS, ("px", "py", "pz", "E")), lab)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"photons": ("a",)}, "two, three or four"),
        ({"photons": ("a", "a", "b")}, "two, three or four"),
        ({"photons": ("a", "b", "c", "d", "e")}, "two, three or four"),
        ({"photons": ("a", "b"), "momentum": ("px", "py", "pz")}, "px, py, pz, E are needed"),
        ({"photons": ("a", "b"), "kinematic_fit": True}, "three photons"),
    ],
)
def test_impossible_recipes_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        PairingRecipe(**arguments)


FOUR = PairingRecipe(("gamma1", "gamma2", "gamma3", "gamma4"))


def four_photons(n, rng, n_photons):
    """Laboratory momenta (n, 4, 4) of random photons, NaN beyond the number that each event has."""
    energy, cosine, phi = rng.uniform(0.3, 5, (n, 4)), rng.uniform(-1, 1, (n, 4)), rng.uniform(-3, 3, (n, 4))
    sine = np.sqrt(1 - cosine**2)
    lab = np.stack(
        [energy * sine * np.cos(phi), energy * sine * np.sin(phi), energy * cosine, energy], axis=-1
    )
    lab[np.arange(4) >= n_photons[:, None]] = np.nan
    return lab


def test_events_of_two_three_and_four_photons_make_one_three_and_six_candidates():
    n_photons = np.array([2, 3, 4, 2, 4])
    momenta = four_photons(5, np.random.default_rng(1), n_photons)
    made = build_candidates({}, FOUR, BEAMS, momenta=momenta)
    np.testing.assert_array_equal(np.bincount(made.event), [1, 3, 6, 1, 6])
    np.testing.assert_array_equal(made.columns["n_photons"], n_photons[made.event])
    np.testing.assert_array_equal(made.pairing[made.event == 1], [0, 1, 2])  # as with three photons
    assert np.isfinite(made.columns["M_gg"]).all()
    np.testing.assert_array_equal(np.isnan(made.columns["E_recoil"]), n_photons[made.event] < 3)
    np.testing.assert_array_equal(np.isnan(made.columns["E_extra"]), n_photons[made.event] < 4)
    assert all(np.isfinite(v).all() for k, v in made.columns.items() if not FOUR.may_be_absent(k))


def test_three_photons_are_described_alike_whether_a_fourth_could_be_there():
    momenta = four_photons(50, np.random.default_rng(2), np.full(50, 3))
    three = build_candidates({}, RECIPE, BEAMS, momenta=momenta[:, :3])
    four = build_candidates({}, FOUR, BEAMS, momenta=momenta)
    np.testing.assert_array_equal(four.event, three.event)
    for name, values in three.columns.items():
        np.testing.assert_array_equal(four.columns[name], values, err_msg=name)


def test_the_hardest_of_the_others_recoils_and_variables_follow_their_photons():
    rng = np.random.default_rng(3)
    momenta = four_photons(200, rng, np.full(200, 4))
    number = {f"gamma{i + 1}_id": np.full(200, i, dtype=np.int32) for i in range(4)}
    wanted = [f"{role}_id" for role in ("pair1", "pair2", "recoil", "extra")]
    energies = ["E_pair1", "E_pair2", "E_recoil", "E_extra"]
    made = build_candidates(number, FOUR, BEAMS, momenta=momenta, wanted=[*wanted, *energies])
    cms = BEAMS.to_cms(momenta)[..., 3]
    for role, energy in zip(wanted, energies, strict=True):
        np.testing.assert_allclose(
            made.columns[energy], cms[made.event, made.columns[role]], rtol=1e-6, err_msg=role
        )
    assert (made.columns["E_recoil"] >= made.columns["E_extra"]).all()
    ids = np.stack([made.columns[role] for role in wanted], axis=1)
    np.testing.assert_array_equal(np.sort(ids, axis=1), np.tile(np.arange(4), (len(ids), 1)))

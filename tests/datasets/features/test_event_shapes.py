"""Event shapes, held to a slow and independent implementation, to their invariances and to their limits."""

import re
from itertools import pairwise, product
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.legendre import Legendre

from darksieve.datasets.beams import Beams
from darksieve.datasets.features.event_shapes import (
    ALIASES,
    EVENT_SHAPES,
    KSFW_VARIABLES,
    event_shapes,
    thrust,
)
from darksieve.datasets.features.particles import Particles
from darksieve.datasets.names import BranchNames, root_name
from darksieve.errors import InputError

BEAMS = Beams.named("belle2")
MASS = 0.14  # GeV, of every particle


def particles_of(rng, counts, scale=0.35):
    """Random particles: Gaussian momenta, charges -1, 0, 1; zero momenta are not among them."""
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    p = rng.normal(0, scale, (offsets[-1], 3))
    energy = np.sqrt((p**2).sum(axis=1) + MASS**2)
    return Particles(np.column_stack([p, energy]), rng.choice([-1.0, 0.0, 1.0], offsets[-1]), offsets)


def candidate(particles, c):
    rows = slice(particles.offsets[c], particles.offsets[c + 1])
    return particles.momenta[rows], particles.charge[rows]


def one(momenta, charge=None):
    momenta = np.asarray(momenta, dtype=float).reshape(-1, 3)
    energy = np.linalg.norm(momenta, axis=1)
    return Particles.from_lists(
        [(np.column_stack([momenta, energy]), np.zeros(len(momenta)) if charge is None else charge)]
    )


def longest_sum(p):
    """The longest sum of momenta with signs, every sign tried."""
    signs = np.array(list(product([1.0], *[[-1.0, 1.0]] * (len(p) - 1))))
    sums = signs @ p
    return sums[np.argmax((sums**2).sum(axis=1))]


def legendre(k, a, b):
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return Legendre.basis(k)(cosine)


def ksfw(sig, q_sig, roe, q_roe, sqrt_s):
    """Term by term as in KsfwMoments.cc: lists, missing momentum appended, pairs once."""
    maximum = 2 * (sqrt_s - sig[:, 3].sum())
    missing = np.array([0, 0, 0, sqrt_s]) - sig.sum(axis=0) - roe.sum(axis=0)
    values = {"et": np.hypot(*np.vstack([sig, roe]).T[:2]).sum()}
    sign = 1 if missing[3] > 0 else -1
    values["mm2"] = sign * missing[3] ** 2 - missing[:3] @ missing[:3]
    for k in range(5):
        charged = [
            np.linalg.norm(b[:3]) * legendre(k, a[:3], b[:3]) * (qa * qb if k % 2 else 1)
            for a, qa in zip(sig, q_sig, strict=True)
            for b, qb in zip(roe, q_roe, strict=True)
            if qb != 0
        ]
        values[f"hso0{k}"] = sum(charged) / maximum
        if k % 2 == 0:
            neutral = [
                np.linalg.norm(b[:3]) * legendre(k, a[:3], b[:3])
                for a in sig
                for b, qb in zip(roe, q_roe, strict=True)
                if qb == 0
            ]
            values[f"hso1{k}"] = sum(neutral) / maximum
            unseen = [np.linalg.norm(missing[:3]) * legendre(k, a[:3], missing[:3]) for a in sig]
            values[f"hso2{k}"] = sum(unseen) / maximum
        others, charges = [*roe, missing], [*q_roe, 0]
        pairs = [
            np.linalg.norm(others[i][:3])
            * np.linalg.norm(others[j][:3])
            * legendre(k, others[i][:3], others[j][:3])
            * (charges[i] * charges[j] if k % 2 else 1)
            for i in range(len(others))
            for j in range(i)
        ]
        values[f"hoo{k}"] = sum(pairs) / maximum**2
    return values


def brute_force(sig, q_sig, roe, q_roe, primary, q_primary, sqrt_s=BEAMS.sqrt_s):
    everything = np.vstack([sig, roe])
    p, size = everything[:, :3], np.linalg.norm(everything[:, :3], axis=1)
    b, o = longest_sum(sig[:, :3]), longest_sum(roe[:, :3])
    unit_b, unit_o = b / np.linalg.norm(b), o / np.linalg.norm(o)
    values = {
        "thrustBm": np.linalg.norm(b) / np.linalg.norm(sig[:, :3], axis=1).sum(),
        "thrustOm": np.linalg.norm(o) / np.linalg.norm(roe[:, :3], axis=1).sum(),
        "cosTBTO": abs(unit_b @ unit_o),
        "cosTBz": abs(unit_b[2]),
    }
    h = [
        sum(size[i] * size[j] * legendre(k, p[i], p[j]) for i in range(len(p)) for j in range(len(p)))
        for k in range(5)
    ]
    values |= {
        name: h[k] / h[0] for k, name in enumerate(("", "foxWolframR1", "R2", "foxWolframR3", "foxWolframR4"))
    }
    del values[""]
    angle = np.degrees(np.arccos(np.clip(p @ unit_b / size, -1, 1)))
    for i in range(1, 10):
        low, high = 10 * (i - 1), 10 * i
        inside = ((low <= angle) & (angle < high)) | ((180 - high < angle) & (angle <= 180 - low))
        values[f"CleoConeCS({i})"] = size[inside].sum()
        values[f"CleoConeCS({i},ROE)"] = size[len(sig) :][inside[len(sig) :]].sum()
    values |= {f"KSFWVariables({k})": v for k, v in ksfw(primary, q_primary, roe, q_roe, sqrt_s).items()}
    values |= {f"KSFWVariables({k},FS1)": v for k, v in ksfw(sig, q_sig, roe, q_roe, sqrt_s).items()}
    eigenvalues = np.sort(np.linalg.svd(p, compute_uv=False) ** 2 / (size**2).sum())
    eigenvalues = np.concatenate([np.zeros(3 - len(eigenvalues)), eigenvalues])
    values["sphericity"] = 1.5 * (eigenvalues[0] + eigenvalues[1])
    values["aplanarity"] = 1.5 * eigenvalues[0]
    missing = np.array([0, 0, 0, sqrt_s]) - everything.sum(axis=0)
    values["visibleEnergyOfEventCMS"] = everything[:, 3].sum()
    values["missingEnergyOfEventCMS"] = missing[3]
    values["missingMomentumOfEventCMS"] = np.linalg.norm(missing[:3])
    values["missingMass2OfEvent"] = missing[3] ** 2 - missing[:3] @ missing[:3]
    return values


def joined(particles, groups):
    """Primary daughters: the first ``groups`` particles of each candidate as one, the others as they are."""
    made = []
    for c in range(len(particles)):
        p, q = candidate(particles, c)
        made.append(
            (
                np.vstack([p[:groups].sum(axis=0), p[groups:]]),
                np.concatenate([[q[:groups].sum()], q[groups:]]),
            )
        )
    return Particles.from_lists(made)


def test_every_quantity_equals_brute_force():
    rng = np.random.default_rng(11)
    n = 60
    signal = particles_of(rng, rng.integers(3, 7, n))
    rest = particles_of(rng, rng.integers(1, 11, n), scale=0.8)  # some have more energy than the collision
    primary = joined(signal, 2)
    shapes = event_shapes(signal, rest, BEAMS, primary_daughters=primary)
    assert tuple(shapes) == EVENT_SHAPES
    assert (shapes["missingEnergyOfEventCMS"] < 0).any()  # both signs of mm2's definition are tried
    for c in range(n):
        wanted = brute_force(*candidate(signal, c), *candidate(rest, c), *candidate(primary, c))
        assert set(wanted) == set(EVENT_SHAPES)
        for name, value in wanted.items():
            assert shapes[name][c] == pytest.approx(value, rel=1e-10, abs=1e-10), (c, name)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 11])
def test_thrust_is_the_longest_of_all_signed_sums(n):
    rng = np.random.default_rng(n)
    for _ in range(40):
        p = rng.normal(size=(n, 3)) * rng.exponential(size=(n, 1))
        value, axis = thrust(one(p))
        best = longest_sum(p)
        assert value[0] == pytest.approx(np.linalg.norm(best) / np.linalg.norm(p, axis=1).sum(), rel=1e-12)
        assert abs(axis[0] @ best) == pytest.approx(np.linalg.norm(best), rel=1e-12)
        assert axis[0, 2] >= 0


@pytest.mark.parametrize("degenerate", ["in one plane", "on one line", "pairs along each other", "on a grid"])
def test_thrust_is_exact_where_many_momenta_lie_in_one_plane(degenerate):
    rng = np.random.default_rng(5)
    for _ in range(60):
        p = rng.normal(size=(8, 3))
        if degenerate == "in one plane":
            p = p @ np.diag([1.0, 1.0, 0.0]) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
        elif degenerate == "on one line":
            p = p[:1] * rng.normal(size=(8, 1))
        elif degenerate == "pairs along each other":
            p = np.vstack([p[:4], p[:4] * rng.normal(size=(4, 1))])
        else:
            p = rng.integers(-1, 2, (8, 3)).astype(float)
            p = p[(p != 0).any(axis=1)]
        value, _ = thrust(one(p))
        wanted = np.linalg.norm(longest_sum(p)) / np.linalg.norm(p, axis=1).sum()
        assert value[0] == pytest.approx(wanted, rel=1e-12)


def equal(shapes, others, names=EVENT_SHAPES):
    for name in names:
        np.testing.assert_allclose(shapes[name], others[name], rtol=1e-8, atol=1e-8, err_msg=name)


seeds = st.integers(0, 2**32 - 1)


def an_event(seed):
    rng = np.random.default_rng(seed)
    return rng, particles_of(rng, rng.integers(1, 6, 3)), particles_of(rng, rng.integers(0, 16, 3))


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_turning_the_event_about_the_beam_changes_nothing(seed):
    rng, signal, rest = an_event(seed)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned = [Particles(some.momenta @ turn.T, some.charge, some.offsets) for some in (signal, rest)]
    equal(event_shapes(signal, rest, BEAMS), event_shapes(*turned, BEAMS))


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_turning_the_event_any_way_changes_only_what_knows_the_beam(seed):
    rng, signal, rest = an_event(seed)
    turn = np.eye(4)
    turn[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]  # reflections too
    turned = [Particles(some.momenta @ turn.T, some.charge, some.offsets) for some in (signal, rest)]
    free = [name for name in EVENT_SHAPES if name != "cosTBz" and "(et" not in name]
    equal(event_shapes(signal, rest, BEAMS), event_shapes(*turned, BEAMS), free)


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_the_order_of_particles_changes_nothing(seed):
    rng, signal, rest = an_event(seed)

    def shuffled(some):
        order = np.concatenate([a + rng.permutation(b - a) for a, b in pairwise(some.offsets)]).astype(int)
        return Particles(some.momenta[order], some.charge[order], some.offsets)

    equal(event_shapes(signal, rest, BEAMS), event_shapes(shuffled(signal), shuffled(rest), BEAMS))


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_conjugating_all_charges_changes_nothing(seed):
    _, signal, rest = an_event(seed)
    conjugated = [Particles(some.momenta, -some.charge, some.offsets) for some in (signal, rest)]
    equal(event_shapes(signal, rest, BEAMS), event_shapes(*conjugated, BEAMS))


@given(seed=seeds, share=st.floats(0.05, 0.95))
@settings(max_examples=40, deadline=None)
def test_splitting_a_photon_of_the_rest_along_itself_changes_only_what_is_quadratic(seed, share):
    """Collinear safety; sphericity is quadratic in momenta, and hoo leaves out i = j: both may change."""
    _, signal, rest = an_event(seed)
    photons = Particles(rest.momenta, np.zeros(len(rest.momenta)), rest.offsets)
    counts = np.diff(photons.offsets)
    halves = np.repeat(photons.momenta, 2, axis=0)
    halves[0::2] *= share
    halves[1::2] *= 1 - share
    split = Particles(halves, np.zeros(len(halves)), np.concatenate([[0], np.cumsum(2 * counts)]))
    safe = [name for name in EVENT_SHAPES if "hoo" not in name and name not in ("sphericity", "aplanarity")]
    before = event_shapes(signal, photons, BEAMS, largest_roe_momentum=np.inf)
    after = event_shapes(signal, split, BEAMS, largest_roe_momentum=np.inf)
    # angles at the edge of a cone may fall to either side by rounding: the sum over cones is safe
    equal(before, after, [name for name in safe if "Cone" not in name])
    total = [sum(shapes[f"CleoConeCS({i},ROE)"] for i in range(1, 10)) for shapes in (before, after)]
    np.testing.assert_allclose(total[0], total[1], rtol=1e-10, atol=1e-12)


def test_two_back_to_back_jets_are_a_pencil():
    signal, rest = one([[0, 0, 1.5], [0, 0, 0.5]]), one([[0, 0, -1.0], [0, 0, -1.0]])
    shapes = event_shapes(signal, rest, BEAMS)
    for name in ("thrustBm", "thrustOm", "cosTBTO", "cosTBz", "R2", "foxWolframR4"):
        assert shapes[name][0] == pytest.approx(1.0, abs=1e-12), name
    for name in ("sphericity", "aplanarity", "foxWolframR1", "foxWolframR3"):
        assert shapes[name][0] == pytest.approx(0.0, abs=1e-12), name
    assert shapes["CleoConeCS(1)"][0] == pytest.approx(4.0)
    assert shapes["CleoConeCS(1,ROE)"][0] == pytest.approx(2.0)


def test_momenta_along_the_axes_are_spherical():
    axes = np.vstack([np.eye(3), -np.eye(3)])
    shapes = event_shapes(one(axes[:2]), one(axes[2:]), BEAMS)
    assert shapes["sphericity"][0] == pytest.approx(1.0)
    assert shapes["aplanarity"][0] == pytest.approx(0.5)
    assert shapes["R2"][0] == pytest.approx(0.0, abs=1e-12)
    assert shapes["missingMomentumOfEventCMS"][0] == pytest.approx(0.0, abs=1e-12)
    assert all(np.isfinite(values[0]) for values in shapes.values())  # no momentum is missing: no direction


def test_isotropic_momenta_have_thrust_one_half():
    rng = np.random.default_rng(3)
    directions = rng.normal(size=(400, 3))
    value, _ = thrust(one(directions / np.linalg.norm(directions, axis=1)[:, None]))
    # <|cos|> = 1/2 with spread 0.289; the maximum over directions lies a few of 0.289/sqrt(400) above it
    assert 0.5 - 3 * 0.0145 < value[0] < 0.5 + 5 * 0.0145


def test_an_empty_rest_of_the_event_has_no_thrust_and_empty_sums():
    signal = one([[0.3, 0.1, 0.4], [-0.2, 1.0, 0.1]], [1.0, -1.0])
    shapes = event_shapes(signal, one([]), BEAMS)
    undefined = {name for name, values in shapes.items() if not np.isfinite(values[0])}
    assert undefined == {"thrustOm", "cosTBTO"}
    of_roe = [f"CleoConeCS({i},ROE)" for i in range(1, 10)]
    of_roe += [f"KSFWVariables({v})" for v in KSFW_VARIABLES if v[:4] in ("hso0", "hso1") or v[:3] == "hoo"]
    assert all(shapes[name][0] == 0 for name in of_roe)
    assert shapes["KSFWVariables(hso20)"][0] > 0


def test_one_particle_each_is_enough():
    shapes = event_shapes(one([0.0, 0.6, 0.8]), one([0.0, 0.0, -1.0]), BEAMS)
    assert shapes["thrustBm"][0] == shapes["thrustOm"][0] == 1
    assert shapes["cosTBTO"][0] == shapes["cosTBz"][0] == pytest.approx(0.8)


def test_without_candidates_there_are_empty_columns():
    nothing = Particles(np.empty((0, 4)), np.empty(0), np.array([0]))
    shapes = event_shapes(nothing, nothing, BEAMS)
    assert {len(values) for values in shapes.values()} == {0}


def test_particles_of_the_rest_that_no_decay_gives_are_left_out():
    signal, rest = one([[0.3, 0.1, 0.4], [0.0, 0.5, 0.0]]), one([[0.1, 0.2, 0.3], [0.0, 0.0, 3.5]])
    equal(event_shapes(signal, rest, BEAMS), event_shapes(signal, one([0.1, 0.2, 0.3]), BEAMS))
    kept = event_shapes(signal, rest, BEAMS, largest_roe_momentum=np.inf)
    assert kept["visibleEnergyOfEventCMS"][0] > 3.5


def test_moments_do_not_depend_on_the_number_of_candidates_beside():
    rng = np.random.default_rng(4)
    signal, rest = particles_of(rng, [3, 5, 2]), particles_of(rng, [10, 0, 4])
    shapes = event_shapes(signal, rest, BEAMS)
    for c in range(3):
        alone = event_shapes(*(Particles.from_lists([candidate(some, c)]) for some in (signal, rest)), BEAMS)
        for name in EVENT_SHAPES:
            np.testing.assert_array_equal(alone[name], shapes[name][c : c + 1])


def test_every_name_is_basf2s_and_is_found_in_its_root_form():
    names = BranchNames([root_name(name) for name in EVENT_SHAPES], "a file")
    assert all(name in names for name in EVENT_SHAPES)
    assert len({root_name(name) for name in EVENT_SHAPES}) == len(EVENT_SHAPES) == 68
    assert set(ALIASES.values()) <= set(EVENT_SHAPES)
    assert not set(ALIASES) & set(EVENT_SHAPES)


def test_what_cannot_be_is_refused():
    signal, rest = one([[0.3, 0.1, 0.4]]), one([[0.3, 0.1, 0.4]])
    two = Particles.from_lists([candidate(rest, 0)] * 2)
    with pytest.raises(InputError, match="rest_of_event has 2 candidates, signal has 1"):
        event_shapes(signal, two, BEAMS)
    with pytest.raises(InputError, match="centre-of-mass system, in GeV"):
        event_shapes(one([[300.0, 100.0, 400.0]]), rest, BEAMS)  # MeV
    with pytest.raises(InputError, match="largest_roe_momentum"):
        event_shapes(signal, rest, BEAMS, largest_roe_momentum=0.0)


def test_the_guide_shows_how_ntuples_of_lists_are_used(tmp_path, monkeypatch):
    guide = (Path(__file__).parents[3] / "docs" / "event_shapes.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.S)
    rng = np.random.default_rng(8)
    parts = {"sig": particles_of(rng, [3, 4]), "roe": particles_of(rng, [8, 0])}
    lists = {}
    for of, some in parts.items():
        in_lab = BEAMS.to_lab(some.momenta)
        counts = np.diff(some.offsets)
        for i, name in enumerate(("px", "py", "pz", "E")):
            lists[f"{of}_{name}"] = ak.unflatten(in_lab[:, i], counts)
        lists[f"{of}_charge"] = ak.unflatten(some.charge, counts)
    with uproot.recreate(tmp_path / "ntuple.root") as file:
        file.mktree("ntuple", dict.fromkeys(lists, "var * float64")).extend(lists)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code, "event_shapes.md", "exec"), names)
    equal(names["columns"], event_shapes(parts["sig"], parts["roe"], BEAMS))

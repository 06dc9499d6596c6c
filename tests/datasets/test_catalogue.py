"""The sample catalogue: files and weights."""

import numpy as np
import pytest

from darksieve.datasets.catalogue import Sample, expand_files
from darksieve.datasets.events import Role
from darksieve.errors import InputError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.root"
    path.write_bytes(b"")
    return path


def test_globs_are_expanded_sorted_and_each_file_comes_once(tmp_path):
    for name in ("b.root", "a.root", "deep/c.root", "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = expand_files(["*.root", tmp_path / "b.root", "deep/c.root"], "samples.x", tmp_path)
    assert [path.name for path in found] == ["a.root", "b.root", "c.root"]
    assert len(expand_files(["**/*.root"], "samples.x", tmp_path)) == 3


def test_a_file_name_with_brackets_is_a_name_before_it_is_a_pattern(tmp_path):
    (tmp_path / "run[1].root").write_bytes(b"")
    assert [path.name for path in expand_files(["run[1].root"], "x", tmp_path)] == ["run[1].root"]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["*.root"], "samples.x: no file matches"),
        (["absent.root"], "samples.x: there is no file .*absent.root"),
        ([], "samples.x: no files are named"),
        (["."], "is a folder"),
    ],
)
def test_files_that_are_not_there_are_refused(tmp_path, patterns, message):
    with pytest.raises(InputError, match=message):
        expand_files(patterns, "samples.x", tmp_path)


def weights(sample, luminosity_fb=10.0, n=4, **columns):
    return sample.masses_and_weights(n, luminosity_fb, **columns)


def test_background_weight_is_the_expected_data_events_per_row(file):
    mass, weight = weights(Sample("qed", Role.BACKGROUND, (file,), luminosity_fb=2.5))
    assert np.isnan(mass).all()
    np.testing.assert_array_equal(weight, 4.0)


def test_cross_section_and_generated_events_give_the_same_weight_as_their_luminosity(file):
    by_events = Sample("qed", Role.BACKGROUND, (file,), cross_section_fb=400.0, n_generated=1000)
    assert by_events.equivalent_luminosity_fb == 2.5
    np.testing.assert_array_equal(weights(by_events)[1], 4.0)


def test_weights_scale_linearly_with_luminosity(file):
    sample = Sample("qed", Role.BACKGROUND, (file,), luminosity_fb=2.5)
    np.testing.assert_allclose(weights(sample, 50.0)[1], 5 * weights(sample, 10.0)[1])


def test_weight_branch_multiplies(file):
    sample = Sample("qed", Role.BACKGROUND, (file,), luminosity_fb=2.5, weight="w")
    np.testing.assert_array_equal(weights(sample, factor=np.array([1, 2, 0.5, -1]))[1], [4, 8, 2, -4])


def test_flat_signal_weights_sum_to_the_efficiency_times_the_width(file):
    sample = Sample("alp", Role.SIGNAL, (file,), mass="genM_a", mass_range=(1.0, 5.0), n_generated=1000)
    generated = np.random.default_rng(1).uniform(1, 5, 1000)
    passed = generated[generated < 3]  # efficiency 1 below 3 GeV and 0 above
    mass, weight = weights(sample, n=len(passed), mass=passed)
    np.testing.assert_array_equal(mass, passed)
    # In the bin from 2 to 3 GeV: binomial error of 250 in 1000 generated, over the bin's width
    efficiency = weight[passed > 2].sum() / 1.0
    assert abs(efficiency - 1) < 5 * np.sqrt(0.25 * 0.75 / 1000) * 4


def test_discrete_signal_weights_are_one_over_the_number_at_that_mass(file):
    sample = Sample("alp", Role.SIGNAL, (file,), mass="genM_a", n_generated={2: 50, 0.5: 100, 1.0: 200})
    stored = np.array([0.5, 1.0, 2.0, 2.00004], dtype=np.float32)
    mass, weight = weights(sample, mass=stored)
    np.testing.assert_array_equal(mass, [0.5, 1.0, 2.0, 2.0])
    np.testing.assert_array_equal(weight, [1 / 100, 1 / 200, 1 / 50, 1 / 50])


def test_one_mass_may_be_a_number(file):
    for n_generated in (500, {1.0: 100, 1.5: 500}):
        mass, weight = weights(Sample("alp", Role.SIGNAL, (file,), mass=1.5, n_generated=n_generated))
        np.testing.assert_array_equal(mass, 1.5)
        np.testing.assert_array_equal(weight, 1 / 500)


def test_data_count_one_each(file):
    mass, weight = weights(Sample("data", Role.DATA, (file,)))
    np.testing.assert_array_equal(weight, 1.0)
    assert np.isnan(mass).all()


@pytest.mark.parametrize(
    ("role", "arguments", "message"),
    [
        ("background", {}, "no weight information"),
        ("background", {"cross_section_fb": 3.0}, "no weight information"),
        ("background", {"luminosity_fb": 0.0}, "luminosity_fb is 0.0"),
        ("background", {"luminosity_fb": np.nan}, "luminosity_fb is nan"),
        ("background", {"luminosity_fb": 1, "cross_section_fb": 1, "n_generated": 2}, "give one of them"),
        ("background", {"luminosity_fb": 1, "mass_range": (1, 2)}, "belong to a signal"),
        ("background", {"luminosity_fb": 1, "n_generated": {1.0: 5}}, "belong to a signal"),
        ("signal", {"mass": "m", "mass_range": (1, 2)}, "needs n_generated"),
        ("signal", {"n_generated": 100}, "needs mass"),
        ("signal", {"n_generated": 100, "mass": "m"}, "mass_range"),
        ("signal", {"n_generated": 0, "mass": 1.0}, "n_generated is 0"),
        ("signal", {"n_generated": {}, "mass": "m"}, "n_generated is empty"),
        ("signal", {"n_generated": {1.0: 0}, "mass": "m"}, "positive number of events"),
        ("signal", {"n_generated": {-1.0: 5}, "mass": "m"}, "masses in GeV"),
        ("signal", {"n_generated": {1.0: 5, 1.0005: 5}, "mass": "m"}, "cannot be told apart"),
        ("signal", {"n_generated": {1.0: 5}, "mass": "m", "mass_range": (1, 2)}, "exclude each other"),
        ("signal", {"n_generated": {1.0: 5}, "mass": 2.0}, "without the sample's mass 2.0"),
        ("signal", {"n_generated": 5, "mass": 2.0, "mass_range": (1, 2)}, "needs mass to be a branch"),
        ("signal", {"n_generated": 5, "mass": "m", "mass_range": (2, 1)}, r"mass_range is \(2, 1\)"),
        ("signal", {"n_generated": 5, "mass": -1.0}, "mass is -1.0"),
        ("data", {"weight": "w"}, "data has none"),
        ("data", {"cross_section_fb": 2.0}, "data has none"),
        ("sideband", {}, "role is 'sideband'"),
        ("data", {"select": "a >"}, "samples.x.select: expression"),
        ("data", {"non_finite": "ignore"}, "non_finite is 'ignore'"),
        ("data", {"negative_weights": "abs"}, "negative_weights is 'abs'"),
    ],
)
def test_incomplete_or_contradictory_samples_are_refused_at_once(file, role, arguments, message):
    with pytest.raises(InputError, match=message):
        Sample("x", role, (file,), **arguments)


def test_generated_masses_that_the_sample_does_not_have_are_refused(file):
    flat = Sample("alp", Role.SIGNAL, (file,), mass="genM_a", mass_range=(1, 5), n_generated=1000)
    with pytest.raises(InputError, match=r"mass_range is \[1.0, 5.0\].*1 rows outside it, the first at 5.5"):
        weights(flat, mass=np.array([1.0, 2.0, 5.0, 5.5]))
    with pytest.raises(InputError, match="no number"):
        weights(flat, mass=np.array([1.0, 2.0, 5.0, np.nan]))
    listed = Sample("alp", Role.SIGNAL, (file,), mass="genM_a", n_generated={1: 5, 2: 5})
    with pytest.raises(InputError, match=r"lists no mass 1\.5 GeV"):
        weights(listed, mass=np.array([1.0, 2.0, 1.5, 1.0]))


def test_sample_names_the_branches_that_it_needs(file):
    sample = Sample(
        "alp",
        "signal",
        (file,),
        select="a > 1 and m < 5",
        mass="m",
        mass_range=(1, 5),
        n_generated=10,
        weight="w",
    )
    assert sample.branches == ("a", "m", "w")
    assert sample.info.role is Role.SIGNAL

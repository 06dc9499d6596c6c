"""Reading samples into events."""

import numpy as np
import pytest

from darksieve.datasets.beams import Beams
from darksieve.datasets.candidates import PairingRecipe
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.events import Role, concatenate
from darksieve.datasets.folds import hash_event_key
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import SampleReader, read_branch, read_samples
from darksieve.errors import InputError

PLAIN = ReadRecipe(columns=("Mbc", "KSFWVariables(hso00)", "nTracks", "flag"), luminosity_fb=100.0)


def background(*paths, **more):
    return Sample("qed", Role.BACKGROUND, paths, **({"luminosity_fb": 10.0} | more))


def recipe(**changes):
    return ReadRecipe(**({"columns": PLAIN.columns, "luminosity_fb": 100.0} | changes))


@pytest.fixture
def two_files(write_tree, ntuple_columns):
    return [write_tree(f"f{run}.root", ntuple_columns(150, seed=run, run=run)) for run in (1, 2)]


def test_columns_are_named_as_asked_and_keep_their_types(two_files, ntuple_columns):
    events = SampleReader(background(*two_files), PLAIN).read()
    first = ntuple_columns(150, seed=1, run=1)
    assert list(events.columns) == list(PLAIN.columns)
    assert [events[name].dtype for name in PLAIN.columns] == [np.float32, np.float32, np.int32, np.bool_]
    np.testing.assert_array_equal(events["Mbc"][:150], first["Mbc"])
    np.testing.assert_array_equal(events["KSFWVariables(hso00)"][:150], first["KSFWVariables__bohso00__bc"])
    np.testing.assert_array_equal(events.weight, 10.0)
    assert len(events) == 300


def test_key_is_the_hash_of_the_branches_that_are_there(two_files, ntuple_columns):
    events = SampleReader(background(two_files[0]), PLAIN).read()
    columns = ntuple_columns(150, seed=1, run=1)
    expected = hash_event_key({name: columns[name] for name in ("__experiment__", "__run__", "__event__")})
    np.testing.assert_array_equal(events.key, expected)


@pytest.mark.parametrize("chunk_rows", [1, 7, 50, 149, 150, 10_000])
def test_size_of_chunks_changes_nothing(two_files, chunk_rows):
    sample = background(*two_files, select="nTracks > 2")
    whole = SampleReader(sample, recipe(select="Mbc > 5.26")).read()
    reader = SampleReader(sample, recipe(select="Mbc > 5.26", chunk_rows=chunk_rows))
    assert reader.read().digest() == whole.digest()
    parts = list(reader.chunks())
    assert concatenate(parts).digest() == whole.digest()
    assert max(len(part) for part in parts) <= chunk_rows


def test_order_in_which_files_are_listed_changes_nothing(two_files):
    forward = SampleReader(background(*two_files), PLAIN).read()
    assert SampleReader(background(*two_files[::-1]), PLAIN).read().digest() == forward.digest()


def test_order_of_rows_in_the_file_changes_nothing_but_their_order(write_tree, ntuple_columns):
    columns = ntuple_columns(200)
    order = np.random.default_rng(1).permutation(200)
    first = write_tree("a.root", columns)
    second = write_tree("b.root", {name: values[order] for name, values in columns.items()})
    chosen = recipe(select="Mbc > 5.26")
    events, shuffled = (SampleReader(background(path), chosen).read() for path in (first, second))
    assert 0 < len(events) < 200
    back, forth = np.argsort(events.key), np.argsort(shuffled.key)
    assert events.select(back).digest() == shuffled.select(forth).digest()


def test_selections_are_applied_and_counted(two_files, ntuple_columns):
    reader = SampleReader(background(*two_files, select="nTracks > 2"), recipe(select="Mbc > 5.26 and flag"))
    events = reader.read()
    columns = [ntuple_columns(150, seed=run, run=run) for run in (1, 2)]
    many = [c["nTracks"] > 2 for c in columns]
    good = [m & (c["Mbc"].astype(float) > 5.26) & c["flag"] for m, c in zip(many, columns, strict=True)]
    cuts = reader.cut_flow.cuts
    assert [(cut.n_before, cut.n_after) for cut in cuts] == [
        (300, 300),
        (300, sum(m.sum() for m in many)),
        (sum(m.sum() for m in many), sum(g.sum() for g in good)),
    ]
    assert [cut.name for cut in cuts] == [
        "rows read",
        "sample: nTracks > 2",
        "candidates: Mbc > 5.26 and flag",
    ]
    np.testing.assert_array_equal(events["Mbc"][: good[0].sum()], columns[0]["Mbc"][good[0]])


def test_a_second_pass_counts_afresh(two_files):
    reader = SampleReader(background(*two_files), PLAIN)
    reader.read()
    reader.read()
    assert reader.cut_flow.cuts[0].n_after == 300


def test_flat_signal_gets_masses_and_weights(two_files):
    sample = Sample("alp", "signal", two_files, mass="genM_a", mass_range=(0.2, 4.7), n_generated=9000)
    events = SampleReader(sample, PLAIN).read()
    assert events.is_signal.all()
    np.testing.assert_allclose(events.weight, 4.5 / 9000)
    assert events.mass.min() >= 0.2


def test_nothing_left_is_an_error_with_the_cut_flow(two_files):
    with pytest.raises(InputError, match=r"(?s)sample qed: no events are left.*Mbc > 7 +300 -> +0"):
        SampleReader(background(*two_files), recipe(select="Mbc > 7")).read()
    with pytest.raises(InputError, match="no events are left"):
        list(SampleReader(background(*two_files, select="nTracks < 0"), PLAIN).chunks())
    empty = SampleReader(background(*two_files), recipe(select="Mbc > 7", may_be_empty=True)).read()
    assert len(empty) == 0
    assert empty["Mbc"].dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_value_that_is_not_finite_is_an_error_where_it_is_met(write_tree, ntuple_columns, bad):
    columns = ntuple_columns(100)
    columns["Mbc"][[40, 60]] = bad
    path = write_tree("bad.root", columns)
    with pytest.raises(
        InputError, match=r"bad.root:ntuple: column 'Mbc' has 2 values .* the first in entry 40"
    ):
        SampleReader(background(path), PLAIN).read()
    assert len(SampleReader(background(path, non_finite="drop"), PLAIN).read()) == 98
    kept = SampleReader(background(path, non_finite="keep"), PLAIN).read()
    assert (~np.isfinite(kept["Mbc"])).sum() == 2
    missing_allowed = recipe(may_be_missing=("Mbc",))
    assert len(SampleReader(background(path), missing_allowed).read()) == 100


def test_dropped_rows_are_in_the_cut_flow(write_tree, ntuple_columns):
    columns = ntuple_columns(100)
    columns["Mbc"][:3] = np.nan
    reader = SampleReader(background(write_tree("bad.root", columns), non_finite="drop"), PLAIN)
    reader.read()
    assert reader.cut_flow.cuts[-1].name == "finite columns"
    assert reader.cut_flow.n_left == 97


def test_entry_of_a_bad_value_counts_from_the_start_of_its_file(write_tree, ntuple_columns):
    columns = ntuple_columns(100)
    columns["Mbc"][77] = np.nan
    path = write_tree("bad.root", columns)
    with pytest.raises(InputError, match="first in entry 77"):
        SampleReader(background(path, select="nTracks >= 0"), recipe(chunk_rows=10)).read()


def test_bad_value_in_a_row_that_is_cut_or_a_column_that_is_not_wanted_does_not_matter(
    write_tree, ntuple_columns
):
    columns = ntuple_columns(100)
    columns["Mbc"][5] = np.nan
    columns["isSignal"][:] = np.nan
    path = write_tree("a.root", columns)
    assert len(SampleReader(background(path), recipe(select="Mbc > 0")).read()) == 99


def test_negative_weights_are_an_error_unless_the_sample_says_otherwise(write_tree, ntuple_columns):
    weight = np.ones(100)
    weight[[3, 8]] = -1
    path = write_tree("w.root", ntuple_columns(100) | {"w": weight})
    with pytest.raises(InputError, match=r"w.root:ntuple: 2 of 100 rows have a negative weight .* entry 3"):
        SampleReader(background(path, weight="w"), PLAIN).read()
    kept = SampleReader(background(path, weight="w", negative_weights="keep"), PLAIN).read()
    assert kept.weight.sum() == pytest.approx(96 * 10)
    dropped = SampleReader(background(path, weight="w", negative_weights="drop"), PLAIN)
    assert len(dropped.read()) == 98
    assert dropped.cut_flow.cuts[-1].n_after == 98


def test_weight_that_is_no_number_is_an_error(write_tree, ntuple_columns):
    weight = np.ones(100)
    weight[3] = np.nan
    path = write_tree("w.root", ntuple_columns(100) | {"w": weight})
    with pytest.raises(
        InputError, match="weight branch 'w' has 1 values that are not finite, the first in entry 3"
    ):
        SampleReader(background(path, weight="w", non_finite="drop"), PLAIN).read()


def test_duplicated_rows_are_found_across_files(write_tree, ntuple_columns):
    columns = ntuple_columns(100)
    first = write_tree("a.root", columns)
    again = {name: values[90:] for name, values in columns.items()}
    second = write_tree("b.root", again)
    with pytest.raises(
        InputError, match=r"10 of 110 rows are there twice .*b.root entry 0, which repeats .*a.root entry 90"
    ):
        SampleReader(background(first, second), PLAIN).read()
    assert len(SampleReader(background(first, second), recipe(duplicates="keep")).read()) == 110


def test_candidates_of_one_event_are_no_duplicates(write_tree, ntuple_columns):
    columns = ntuple_columns(100)
    columns["__event__"][:] = np.arange(100) // 4
    columns["__candidate__"][:] = np.arange(100) % 4
    events = SampleReader(background(write_tree("a.root", columns)), PLAIN).read()
    assert len(np.unique(events.key)) == 25
    np.testing.assert_array_equal(events.candidate, np.arange(100) % 4)


def test_event_key_of_another_name(write_tree, ntuple_columns):
    columns = {name: v for name, v in ntuple_columns(50).items() if not name.startswith("__")}
    path = write_tree("a.root", columns | {"number": np.arange(50)})
    with pytest.raises(InputError, match="none of the event key's branches"):
        SampleReader(background(path), PLAIN)
    events = SampleReader(background(path), recipe(event_key=("number",))).read()
    assert len(np.unique(events.key)) == 50


def test_files_with_different_event_keys_are_refused(write_tree, ntuple_columns):
    columns = ntuple_columns(10)
    first = write_tree("a.root", columns | {"__production__": np.ones(10, dtype=np.int32)})
    second = write_tree("b.root", columns)
    with pytest.raises(InputError, match=r"b.root:ntuple has no branch '__production__'"):
        SampleReader(background(first, second), PLAIN)


def test_everything_is_checked_before_the_first_event_of_the_first_sample(
    two_files, write_tree, ntuple_columns
):
    columns = ntuple_columns(10)
    del columns["Mbc"]
    bad = write_tree("z.root", columns)
    with pytest.raises(InputError, match=r"z.root:ntuple has no branch 'Mbc'"):
        read_samples([background(*two_files), Sample("data", "data", (bad,))], PLAIN)


def test_selection_with_an_unknown_branch_is_refused_with_its_position(two_files):
    with pytest.raises(InputError, match=r"character 1: .*no branch 'Mbd'; did you mean 'Mbc'"):
        SampleReader(background(*two_files), recipe(select="Mbd > 5.2"))


def test_samples_are_read_together(two_files):
    samples = [background(two_files[0]), Sample("data", "data", (two_files[1],))]
    result = read_samples(samples, PLAIN)
    assert list(result.cut_flows) == ["qed", "data"]
    assert result.events.is_data.sum() == 150
    np.testing.assert_array_equal(result.events.process[[0, -1]], ["qed", "data"])
    with pytest.raises(InputError, match="no samples"):
        read_samples([], PLAIN)


def test_progress_counts_every_entry(two_files):
    seen = []
    SampleReader(background(*two_files, select="flag"), recipe(chunk_rows=64)).read(seen.append)
    assert sum(seen) == 300
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duplicates": "drop"}, "duplicates is 'drop'"),
        ({"chunk_rows": 0}, "chunk_rows is 0"),
        ({"luminosity_fb": -1.0}, "luminosity_fb is -1.0"),
        ({"select": "Mbc >"}, "candidates.select: expression"),
        ({"pairings": PairingRecipe(("a", "b"))}, "pairings need beams"),
    ],
)
def test_wrong_recipes_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        recipe(**changes)


def test_one_branch_of_one_file(two_files, ntuple_columns):
    columns = ntuple_columns(150, seed=1, run=1)
    np.testing.assert_array_equal(read_branch(two_files[0], "deltaE"), columns["deltaE"])
    chosen = read_branch(two_files[0], "KSFWVariables(hso00)", tree="ntuple", select="nTracks > 3 and flag")
    passed = (columns["nTracks"] > 3) & columns["flag"]
    np.testing.assert_array_equal(chosen, columns["KSFWVariables__bohso00__bc"][passed])
    with pytest.raises(InputError, match="no branch 'deltaF'"):
        read_branch(two_files[0], "deltaF")
    with pytest.raises(InputError, match="no branch 'deltaF'"):
        read_branch(two_files[0], "deltaE", select="deltaF > 1")


# Photons: three exact photons per event and their smeared measurement.
PHOTONS = ("gamma1", "gamma2", "gamma3")
BEAMS = Beams.named("belle2")


def photon_columns(n=200, seed=3, spread=0.01, fitted=False):
    rng = np.random.default_rng(seed)
    # two photons of a pair of mass 3 GeV and the one that recoils, in the CMS
    sqrt_s, mass = BEAMS.sqrt_s, 3.0
    energy = (sqrt_s**2 + mass**2) / (2 * sqrt_s)
    momentum = sqrt_s - energy
    cos, phi = rng.uniform(-0.9, 0.9, n), rng.uniform(-np.pi, np.pi, n)
    cos_h, phi_h = rng.uniform(-0.9, 0.9, n), rng.uniform(-np.pi, np.pi, n)
    sin_h = np.sqrt(1 - cos_h**2)
    along, across = energy / mass, momentum / mass
    pair = []
    for sign in (1, -1):
        x, y, z = (sign * mass / 2 * v for v in (sin_h * np.cos(phi_h), sin_h * np.sin(phi_h), cos_h))
        pair.append(np.stack([x, y, along * z + across * mass / 2, along * mass / 2 + across * z], -1))
    recoil = np.zeros((n, 4)) + np.array([0, 0, -momentum, momentum])
    cms = np.stack([*pair, recoil], axis=1)
    sin = np.sqrt(1 - cos**2)
    about_y = np.zeros((n, 3, 3))
    about_y[:, 0, 0] = about_y[:, 2, 2] = cos
    about_y[:, 0, 2], about_y[:, 2, 0], about_y[:, 1, 1] = sin, -sin, 1
    about_z = np.zeros((n, 3, 3))
    about_z[:, 0, 0] = about_z[:, 1, 1] = np.cos(phi)
    about_z[:, 0, 1], about_z[:, 1, 0], about_z[:, 2, 2] = -np.sin(phi), np.sin(phi), 1
    cms[..., :3] = np.einsum("nij,njk,nlk->nli", about_z, about_y, cms[..., :3])
    lab = BEAMS.to_lab(cms)
    measured = lab * (1 + spread * rng.standard_normal((n, 3, 1)))
    columns = {
        "__event__": np.arange(n, dtype=np.uint32),
        "genPair": rng.integers(-1, 3, n).astype(np.int32),
        "genM_a": np.full(n, 3.0),
    }
    for i, photon in enumerate(PHOTONS):
        columns[f"{photon}_clusterE1E9"] = rng.random(n).astype(np.float32)
        for j, component in enumerate(("px", "py", "pz", "E")):
            columns[f"{photon}_{component}"] = measured[:, i, j].astype(np.float32)
            if fitted:
                columns[f"{photon}_fit_{component}"] = lab[:, i, j]
    return columns


def photon_recipe(columns=("M_gg", "recoil_clusterE1E9"), select=None, chunk_rows=50_000, **pairings):
    return ReadRecipe(
        columns=columns,
        luminosity_fb=10.0,
        select=select,
        beams=BEAMS,
        chunk_rows=chunk_rows,
        pairings=PairingRecipe(PHOTONS, **({"true_pair": "genPair"} | pairings)),
    )


FIT = ("fit_px", "fit_py", "fit_pz", "fit_E")


def signal(path, **more):
    return Sample("alp", "signal", (path,), mass="genM_a", n_generated={3.0: 1000}, **more)


def test_photons_become_three_candidates_per_event(write_tree):
    columns = photon_columns()
    events = SampleReader(signal(write_tree("a.root", columns)), photon_recipe()).read()
    assert len(events) == 600
    assert set(events.columns) == {"M_gg", "recoil_clusterE1E9", "is_true_pair"}
    np.testing.assert_array_equal(events.candidate, np.tile([0, 1, 2], 200))
    np.testing.assert_array_equal(events.key.reshape(200, 3)[:, 0], events.key.reshape(200, 3)[:, 2])
    np.testing.assert_array_equal(
        events["is_true_pair"].reshape(200, 3).argmax(1)[columns["genPair"] > 0],
        columns["genPair"][columns["genPair"] > 0],
    )
    assert events["is_true_pair"].sum() == (columns["genPair"] >= 0).sum()
    np.testing.assert_array_equal(events["recoil_clusterE1E9"][0::3], columns["gamma3_clusterE1E9"])
    np.testing.assert_array_equal(events.weight, 1 / 1000)


def test_label_of_wrong_pairings_is_neither_signal_nor_background(write_tree):
    columns = photon_columns()
    path = write_tree("a.root", columns)
    sample = Sample("qed", "background", (path,), luminosity_fb=1.0)
    events = read_samples([signal(path), sample], photon_recipe()).events
    assert (events.label == 1).sum() == (columns["genPair"] >= 0).sum()
    assert (events.label == 0).sum() == 600
    assert np.isnan(events.label[events.is_signal & ~events["is_true_pair"]]).all()


def test_truth_of_the_pairing_is_not_needed_of_background_and_data(write_tree):
    columns = photon_columns()
    del columns["genPair"]
    path = write_tree("a.root", columns)
    events = SampleReader(Sample("data", "data", (path,)), photon_recipe()).read()
    assert not events["is_true_pair"].any()
    with pytest.raises(InputError, match="no branch 'genPair'"):
        SampleReader(signal(path), photon_recipe())


def test_selection_may_use_columns_of_pairing_photon_variables_and_branches(write_tree):
    path = write_tree("a.root", photon_columns())
    select = "M_gg > 2 and pair1_clusterE1E9 < 0.9 and gamma1_E > 0.1 and cosHelicity < 0.9"
    reader = SampleReader(signal(path), photon_recipe(("M_gg", "pair1_clusterE1E9", "cosHelicity"), select))
    events = reader.read()
    everything = SampleReader(
        signal(path), photon_recipe(("M_gg", "pair1_clusterE1E9", "cosHelicity"))
    ).read()
    passed = (
        (everything["M_gg"] > 2) & (everything["pair1_clusterE1E9"] < 0.9) & (everything["cosHelicity"] < 0.9)
    )
    np.testing.assert_array_equal(events["M_gg"], everything["M_gg"][passed])
    assert reader.cut_flow.cuts[-1].n_before == 600


def test_kinematic_fit_runs_where_the_fitted_branches_are_absent(write_tree):
    path = write_tree("a.root", photon_columns())
    raw = SampleReader(signal(path), photon_recipe()).read()
    reader = SampleReader(signal(path), photon_recipe(("M_gg", "fit_chi2"), momentum=FIT, kinematic_fit=True))
    fitted = reader.read()
    width = {name: np.std(e["M_gg"][0::3] - 3.0) for name, e in (("raw", raw), ("fitted", fitted))}
    assert width["fitted"] < 0.8 * width["raw"]
    assert [cut.name for cut in reader.cut_flow.cuts] == ["rows read", "kinematic fit converged", "pairings"]
    assert fitted["fit_chi2"].mean() == pytest.approx(
        1.0, abs=0.5
    )  # only three energies were smeared, by 1 %


def test_fitted_branches_are_used_where_they_are_there(write_tree):
    path = write_tree("a.root", photon_columns(fitted=True))
    reader = SampleReader(signal(path), photon_recipe(momentum=FIT, kinematic_fit=True))
    np.testing.assert_allclose(reader.read()["M_gg"][0::3], 3.0, rtol=1e-9)
    assert "kinematic fit converged" not in [cut.name for cut in reader.cut_flow.cuts]


def test_fitted_branches_that_are_absent_are_an_error_without_the_fit(write_tree):
    path = write_tree("a.root", photon_columns())
    with pytest.raises(InputError, match="no branch 'gamma1_fit_px'; did you mean 'gamma1_px'"):
        SampleReader(signal(path), photon_recipe(momentum=FIT))


def test_event_that_cannot_be_fitted_is_dropped_and_counted(write_tree):
    columns = photon_columns()
    for component in ("px", "py", "pz", "E"):
        columns[f"gamma2_{component}"][7] = 0
    reader = SampleReader(
        signal(write_tree("a.root", columns)), photon_recipe(("M_gg",), momentum=FIT, kinematic_fit=True)
    )
    assert len(reader.read()) == 199 * 3
    fit = reader.cut_flow.cuts[1]
    assert (fit.name, fit.n_before, fit.n_after) == ("kinematic fit converged", 200, 199)


def test_momentum_that_is_not_finite_is_named_by_its_branch(write_tree):
    columns = photon_columns()
    columns["gamma2_pz"][7] = np.nan
    path = write_tree("a.root", columns)
    with pytest.raises(InputError, match=r"column 'gamma2_pz' has 1 values .* entry 7"):
        SampleReader(signal(path), photon_recipe()).read()
    reader = SampleReader(signal(path, non_finite="drop"), photon_recipe())
    assert len(reader.read()) == 199 * 3
    assert reader.cut_flow.cuts[1].name == "finite momenta"


@pytest.mark.parametrize("chunk_rows", [3, 64])
def test_size_of_chunks_changes_nothing_for_candidates(write_tree, chunk_rows):
    path = write_tree("a.root", photon_columns())
    names = ("M_gg", "fit_chi2", "phiHelicity", "pair2_clusterE1E9")
    whole, chunked = (
        SampleReader(
            signal(path),
            photon_recipe(names, "fit_chi2 < 3", chunk_rows=rows, momentum=FIT, kinematic_fit=True),
        ).read()
        for rows in (50_000, chunk_rows)
    )
    assert 0 < len(whole) < 600
    np.testing.assert_array_equal(whole.key, chunked.key)
    for name in names:
        np.testing.assert_allclose(whole[name], chunked[name], rtol=1e-6, atol=1e-7)


def several_candidates(n_events=60, seed=4):
    """Columns of a ntuple with one to four candidates per event, those of an event in consecutive rows."""
    rng = np.random.default_rng(seed)
    per_event = rng.integers(1, 5, n_events)
    n = per_event.sum()
    return {
        "__experiment__": np.full(n, 7, dtype=np.int32),
        "__run__": np.ones(n, dtype=np.int32),
        "__event__": np.repeat(np.arange(n_events), per_event).astype(np.uint32),
        "__candidate__": np.concatenate([np.arange(k) for k in per_event]).astype(np.int32),
        "chiProb": rng.random(n),
    }


@pytest.mark.parametrize("chunk_rows", [1, 2, 3, 7, 1000])
def test_whole_events_are_never_split_between_chunks(write_tree, chunk_rows):
    path = write_tree("a.root", several_candidates())
    wanted = {"columns": ("chiProb",), "select": "chiProb < 0.9"}
    reader = SampleReader(background(path), recipe(**wanted, chunk_rows=chunk_rows, whole_events=True))
    parts = list(reader.chunks())
    assert concatenate(parts).digest() == SampleReader(background(path), recipe(**wanted)).read().digest()
    events = [set(part.key) for part in parts]
    assert sum(map(len, events)) == len(set().union(*events))


def test_candidates_of_an_event_that_are_apart_are_refused_where_events_must_be_whole(write_tree):
    columns = several_candidates()
    order = np.argsort(columns["__candidate__"], kind="stable")
    path = write_tree("a.root", {name: values[order] for name, values in columns.items()})
    reader = SampleReader(background(path), recipe(columns=("chiProb",), whole_events=True))
    with pytest.raises(InputError, match=r"not in consecutive rows.*sort the files by event"):
        list(reader.chunks())


def test_duplicated_rows_are_found_in_a_stream_too(write_tree, ntuple_columns):
    columns = ntuple_columns(100)
    first = write_tree("a.root", columns)
    again = {name: values[90:] for name, values in columns.items()}
    second = write_tree("b.root", again)
    reader = SampleReader(background(first, second), recipe(chunk_rows=7))
    with pytest.raises(
        InputError, match=r"10 of 110 rows are there twice .*b.root entry 0, which repeats .*a.root entry 90"
    ):
        list(reader.chunks())
    kept = SampleReader(background(first, second), recipe(duplicates="keep"))
    assert sum(map(len, kept.chunks())) == 110


def test_the_same_event_of_another_period_has_another_key(two_files):
    keys = [
        set(SampleReader(background(two_files[0]), recipe(period=period)).read().key)
        for period in (None, "belle", "belle2")
    ]
    assert not keys[0] & keys[1]
    assert not keys[1] & keys[2]
    assert len(keys[1]) == 150


def test_weights_of_signal_are_those_of_its_periods_share(two_files):
    sample = Sample("alp", "signal", two_files, mass="genM_a", mass_range=(0.2, 4.7), n_generated=9000)
    events = SampleReader(sample, recipe(signal_share=0.25)).read()
    np.testing.assert_allclose(events.weight, 0.25 * 4.5 / 9000)

"""Production: files, sidecars, random streams, pseudo-data and refusals."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import uproot

from darksieve.datasets.beams import Beams
from darksieve.datasets.events import Role
from darksieve.datasets.simulation.photons.plans import BLOCK
from darksieve.datasets.simulation.photons.processes import PHOTON_PROCESSES, background_sources
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.datasets.simulation.production import Injection, simulate
from darksieve.datasets.simulation.record import SampleRecord
from darksieve.errors import InputError

PHOTON = {process.name: process for process in PHOTON_PROCESSES}
KEY = ("__experiment__", "__run__", "__event__", "__production__")


def read(path, tree="ntuple"):
    with uproot.open(path) as file:
        return file[tree].arrays(library="np")


def sha256_of(columns):
    whole = hashlib.sha256()
    for name in sorted(columns):
        values = columns[name]
        of_column = hashlib.sha256(f"{name}:{values.dtype.str}".encode())
        of_column.update(np.ascontiguousarray(values).tobytes())
        whole.update(of_column.digest())
    return whole.hexdigest()


def pair_masses(columns):
    momenta = np.stack(
        [np.stack([columns[f"gamma{i}_{c}"] for c in ("px", "py", "pz", "E")], -1) for i in (1, 2, 3)], 1
    ).astype(float)
    pairs = np.stack([momenta[:, i] + momenta[:, j] for i, j in ((0, 1), (0, 2), (1, 2))], axis=1)
    return np.sqrt(np.maximum(pairs[..., 3] ** 2 - (pairs[..., :3] ** 2).sum(-1), 0))


@pytest.fixture(scope="module")
def alp(tmp_path_factory):
    path = tmp_path_factory.mktemp("alp") / "alp.root"
    record = simulate("gamma_alp", path, masses={0.2: 15_000, 1.0: 15_001, 8.0: 15_000}, seed=7)
    return path, record, read(path)


def test_file_is_a_ttree_with_the_branches_of_the_sidecar(alp):
    path, record, columns = alp
    with uproot.open(path) as file:
        assert file.classnames(cycle=False) == {"ntuple": "TTree"}
        assert file["ntuple"].typenames()["__event__"] == "uint32_t"
        assert file["ntuple"].typenames()["gamma1_E"] == "float"
        assert file["ntuple"].typenames()["genPair"] == "int32_t"
    assert set(columns) == set(record.columns)
    assert record.n_selected == len(columns["__event__"])
    assert record.sha256 == sha256_of(columns)


def test_sidecar_holds_the_record_and_calls_itself_a_toy(alp):
    path, record, _ = alp
    assert SampleRecord.load(path) == record
    values = json.loads(path.with_suffix(".json").read_text())
    assert "toy simulation" in values["label"]
    assert values["n_generated"] == {"0.2": 15_000, "1.0": 15_001, "8.0": 15_000}
    assert values["role"] == "signal"
    assert values["settings"]["beams"]["crossing_mrad"] == 83.0
    assert values["sources"]["gamma_eta_fb"]["unit"] == "fb"


def test_discrete_masses_come_in_the_numbers_asked_for(alp):
    _, _, columns = alp
    masses, counts = np.unique(columns["genM_a"], return_counts=True)
    np.testing.assert_allclose(masses, [0.2, 1.0, 8.0], rtol=1e-6)
    efficiency = counts / [15_000, 15_001, 15_000]
    assert (efficiency > 0.45).all()
    assert (efficiency < 0.8).all()
    # events are generated in the order of the masses, across the ends of the blocks
    boundary = columns["__event__"][columns["genM_a"] > 0.5].min()
    assert 15_000 < boundary < 15_050


# raw 68 % half-widths and shifts of an earlier toy: 10.3 MeV at 0.2, 15.5 at 1, 91 at 8 GeV
@pytest.mark.parametrize(("mass", "half_width_mev"), [(0.2, 10.3), (1.0, 15.5), (8.0, 91.0)])
def test_mass_resolution_is_that_of_a_crystal_calorimeter(alp, mass, half_width_mev):
    _, _, columns = alp
    chosen = np.isclose(columns["genM_a"], mass) & (columns["genPair"] >= 0)
    measured = pair_masses(columns)[chosen, columns["genPair"][chosen]]
    low, middle, high = np.quantile(measured, [0.16, 0.5, 0.84])
    assert 500 * (high - low) == pytest.approx(half_width_mev, rel=0.1)
    assert -0.3 * half_width_mev < 1000 * (middle - mass) < 0.1 * half_width_mev


def test_true_pair_is_the_two_real_photons_of_the_alp(alp):
    _, _, columns = alp
    first, second = np.array([(0, 1), (0, 2), (1, 2)])[columns["genPair"]].T
    rows = np.flatnonzero(columns["genPair"] >= 0)
    mother = np.stack([columns[f"gamma{i}_genMotherPDG"] for i in (1, 2, 3)], axis=1)
    is_signal = np.stack([columns[f"gamma{i}_isSignal"] for i in (1, 2, 3)], axis=1)
    assert len(rows) > 0.9 * len(mother)
    for place in (first, second):
        assert (mother[rows, place[rows]] == 9000005).all()
        assert (is_signal[rows, place[rows]] == 1).all()
    third = 3 - first - second
    # the third is the recoil photon, or a fake when that one was lost
    recoil = is_signal[rows, third[rows]] == 1
    assert recoil.mean() > 0.99
    assert (mother[rows, third[rows]][recoil] == 0).all()


def test_photons_are_ordered_by_cms_energy_and_agree_with_their_clusters(alp):
    _, _, columns = alp
    beams = Beams.named("belle2")
    energies = []
    for i in (1, 2, 3):
        lab = np.stack([columns[f"gamma{i}_{c}"] for c in ("px", "py", "pz", "E")], axis=1)
        energies.append(beams.to_cms(lab)[:, 3])
        np.testing.assert_allclose(
            np.arctan2(np.hypot(lab[:, 0], lab[:, 1]), lab[:, 2]),
            columns[f"gamma{i}_clusterTheta"],
            atol=2e-6,
        )
    assert (np.diff(energies, axis=0) <= 1e-5).all()


def test_workers_do_not_change_a_column_and_seeds_do(tmp_path):
    n = 2 * BLOCK + 5
    records = [
        simulate("qed_3gamma", tmp_path / f"{i}.root", n_events=n, seed=seed, workers=workers)
        for i, (seed, workers) in enumerate([(11, 1), (11, 2), (12, 1)])
    ]
    assert records[0].sha256 == records[1].sha256 != records[2].sha256
    assert records[0].n_generated == n
    assert sha256_of(read(tmp_path / "1.root")) == records[0].sha256
    np.testing.assert_array_equal(
        read(tmp_path / "0.root")["gamma1_px"], read(tmp_path / "1.root")["gamma1_px"]
    )


@pytest.mark.slow
def test_workers_do_not_change_signal_or_pseudo_data(tmp_path):
    for name, size in (
        ("gamma_alp", {"n_events": 3 * BLOCK + 1, "mass_range": (0.2, 9.0)}),
        ("gamma_omega", {"n_events": BLOCK + 1}),
        ("gamma_alp_pseudo_data", {"luminosity_fb": 0.25, "inject": Injection(2.0, 1000.0)}),
    ):
        alone = simulate(name, tmp_path / "alone.root", **size)
        together = simulate(name, tmp_path / "together.root", workers=3, **size)
        assert alone == together


def test_a_larger_sample_begins_with_the_smaller_one(tmp_path):
    small = simulate("gamma_eta", tmp_path / "small.root", n_events=BLOCK)
    simulate("gamma_eta", tmp_path / "large.root", n_events=BLOCK + 100)
    a, b = read(tmp_path / "small.root"), read(tmp_path / "large.root")
    for name in small.columns:
        np.testing.assert_array_equal(a[name], b[name][: small.n_selected])


def test_candidates_wanted_end_the_sample_after_a_whole_block_for_any_number_of_workers(tmp_path):
    records = [
        simulate("gamma_eta", tmp_path / f"{workers}.root", n_candidates=15_000, workers=workers)
        for workers in (1, 2)
    ]
    assert records[0].sha256 == records[1].sha256
    assert records[0].n_generated % BLOCK == 0
    assert records[0].n_selected >= 15_000
    assert records[0].luminosity_fb == records[0].n_generated / records[0].cross_section_fb
    blocks = records[0].n_generated // BLOCK
    assert records[0].n_selected * (blocks - 1) / blocks < 15_000  # and no block too many
    whole = simulate("gamma_eta", tmp_path / "whole.root", n_events=blocks * BLOCK)
    assert whole.sha256 == records[0].sha256


def test_event_keys_are_unique_within_and_between_samples(tmp_path):
    keys = []
    for name, process in PHOTON.items():
        for seed in (1, 2, 2**40):
            size = {"n_events": 200}
            if process.role is Role.SIGNAL:
                size["mass_range"] = (1.0, 2.0)
            if process.role is Role.DATA:
                size = {"luminosity_fb": 0.001}
            simulate(name, tmp_path / "s.root", seed=seed, **size)
            columns = read(tmp_path / "s.root")
            keys.append(np.stack([columns[part] for part in KEY], axis=1).astype(np.int64))
    together = np.concatenate(keys)
    assert len(np.unique(together, axis=0)) == len(together) > 1000


def test_luminosity_and_generated_events_agree_with_the_cross_section(tmp_path):
    record = simulate("qed_3gamma", tmp_path / "q.root", luminosity_fb=0.02)
    source = background_sources(PhotonSettings())["qed_3gamma"]
    assert record.cross_section_fb == source.cross_section_fb
    assert record.n_generated == round(source.cross_section_fb * 0.02)
    assert record.luminosity_fb == record.n_generated / record.cross_section_fb
    assert record.cross_section_error_fb / record.cross_section_fb < 1e-3


@pytest.fixture(scope="module")
def pseudo_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    plain = simulate("gamma_alp_pseudo_data", folder / "plain.root", luminosity_fb=0.5, seed=3)
    injected = simulate(
        "gamma_alp_pseudo_data", folder / "inj.root", luminosity_fb=0.5, seed=3, inject=Injection(1.5, 2e4)
    )
    return plain, read(folder / "plain.root"), injected, read(folder / "inj.root")


def test_pseudo_data_tells_no_truth(pseudo_data, alp):
    plain, columns, _, _ = pseudo_data
    truth = ("gen", "isSignal", "mc")
    assert not [name for name in columns if any(part.startswith(truth) for part in name.split("_"))]
    _, _, signal = alp
    assert set(columns) < set(signal)
    assert plain.role is Role.DATA
    assert plain.luminosity_fb == 0.5


def test_pseudo_data_holds_every_background_in_proportion(pseudo_data, tmp_path):
    plain, columns, _, _ = pseudo_data
    expected = variance = generated = 0.0
    for name, source in background_sources(PhotonSettings()).items():
        sample = simulate(name, tmp_path / f"{name}.root", n_events=20_000, seed=99)
        efficiency = sample.n_selected / sample.n_generated
        n = source.cross_section_fb * 0.5
        expected += n * efficiency
        variance += n * efficiency + n**2 * efficiency * (1 - efficiency) / 20_000
        generated += n
    assert abs(plain.n_selected - expected) < 4.5 * np.sqrt(variance)
    assert abs(plain.n_generated - generated) < 4.5 * np.sqrt(generated)
    # shuffled: event numbers rise in the file, and fakes are spread over it rather than at the end of a block
    assert (np.diff(columns["__event__"].astype(np.int64)) > 0).all()
    late = abs(columns["gamma3_clusterTiming"]) > 15
    place = np.flatnonzero(late[:8000])
    assert abs(place.mean() / 8000 - 0.5) < 4.5 * np.sqrt(1 / 12 / len(place))


def test_an_injected_signal_adds_a_peak_of_its_cross_section(pseudo_data, tmp_path):
    _, plain, _, injected = pseudo_data
    signal = simulate("gamma_alp", tmp_path / "s.root", masses={1.5: 20_000}, seed=5)
    expected = 2e4 * 0.5 * signal.n_selected / 20_000

    def near(columns):
        return (abs(pair_masses(columns) - 1.5) < 0.06).any(axis=1).sum()

    background, total = near(plain), near(injected)
    assert total - background > 0.8 * expected
    assert total - background < expected + 5 * np.sqrt(total + background)


def test_progress_ends_with_all_events(tmp_path):
    seen = []
    simulate("gamma_eta", tmp_path / "e.root", n_events=BLOCK + 1, progress=lambda *p: seen.append(p))
    assert seen == [(BLOCK, BLOCK + 1), (BLOCK + 1, BLOCK + 1)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_production_leaves_the_old_files_and_nothing_else(tmp_path, workers):
    path = tmp_path / "e.root"
    simulate("gamma_eta", path, n_events=100)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate("gamma_eta", path, n_events=2 * BLOCK, workers=workers, progress=stop)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from darksieve.datasets.simulation.production import simulate\n"
        f"simulate('gamma_eta', {str(tmp_path / 'e.root')!r}, n_events={2 * BLOCK}, workers=2)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "without `if __name__" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["script.py"]


def test_a_sample_without_selected_events_is_an_empty_tree(tmp_path):
    settings = PhotonSettings.from_mapping({"detector": {"photon_efficiency": 0.0}})
    record = simulate("gamma_eta", tmp_path / "e.root", n_events=50, settings=settings)
    assert record.n_selected == 0
    assert record.n_generated == 50
    assert len(read(tmp_path / "e.root")["__event__"]) == 0


@pytest.mark.parametrize(
    ("process", "arguments", "message"),
    [
        ("qed_3gama", {"n_events": 1}, "did you mean 'qed_3gamma'"),
        ("qed_3gamma", {}, "either n_events, luminosity_fb or n_candidates"),
        ("qed_3gamma", {"n_events": 1, "luminosity_fb": 1}, "either n_events, luminosity_fb or n_candidates"),
        ("qed_3gamma", {"n_events": 0}, "n_events is 0"),
        ("qed_3gamma", {"luminosity_fb": -1}, "luminosity_fb is -1"),
        ("qed_3gamma", {"n_events": 1, "mass_range": (1, 2)}, "belong to a signal"),
        ("qed_3gamma", {"n_events": 1, "inject": Injection(1, 1)}, "pseudo-data only"),
        ("qed_3gamma", {"n_events": 1, "workers": 0}, "workers is 0"),
        ("qed_3gamma", {"n_events": 1, "seed": -1}, "seed is -1"),
        ("gamma_alp", {"n_events": 1}, "either masses"),
        ("gamma_alp", {"mass_range": (1, 2)}, "needs n_events"),
        ("gamma_alp", {"mass_range": (2, 1), "n_events": 1}, "mass_range is 2 to 1 GeV"),
        ("gamma_alp", {"masses": {11.0: 5}}, "a mass is 11.0 GeV"),
        ("gamma_alp", {"masses": {1.0: 0}}, "at 1.0 GeV is 0"),
        ("gamma_alp", {"masses": {}}, "masses is {}"),
        ("gamma_alp", {"masses": {1.0: 5}, "luminosity_fb": 1}, "no luminosity"),
        ("gamma_alp", {"masses": [1.0, 2.0]}, "masses is .1.0, 2.0.; it maps"),
        ("gamma_alp", {"masses": {"one": 5}}, "a mass is 'one'"),
        ("gamma_alp", {"masses": {1.0: 5.5}}, "at 1.0 GeV is 5.5"),
        ("gamma_alp", {"mass_range": 3.0, "n_events": 1}, "mass_range is 3.0; it is two masses"),
        ("gamma_alp", {"mass_range": (0.2, 12.0), "n_events": 1}, "an edge of mass_range is 12.0"),
        ("qed_3gamma", {"n_events": "many"}, "n_events is 'many'"),
        ("qed_3gamma", {"luminosity_fb": float("nan")}, "luminosity_fb is nan"),
        ("gamma_alp_pseudo_data", {"n_events": 5}, "takes luminosity_fb"),
        ("gamma_alp_pseudo_data", {"luminosity_fb": 1, "inject": Injection(12, 1)}, "inject.mass is 12"),
        ("gamma_alp_pseudo_data", {"luminosity_fb": 1, "inject": Injection(2, -1)}, "cross_section_fb is -1"),
        ("gamma_alp_pseudo_data", {"luminosity_fb": 1e5}, "more than event numbers allow"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_any_file(tmp_path, process, arguments, message):
    with pytest.raises(InputError, match=message):
        simulate(process, tmp_path / "x.root", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_root_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"name it \.root"):
        simulate("gamma_eta", tmp_path / "x.parquet", n_events=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "is missing"), ("{", "is not JSON"), ("{}", "not the sidecar"), ("[]", "not the sidecar")],
)
def test_wrong_sidecars_are_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=message):
        SampleRecord.load(tmp_path / "x.root")


def test_a_damaged_sidecar_is_refused(tmp_path, alp):
    values = json.loads(alp[0].with_suffix(".json").read_text())
    del values["seed"]
    (tmp_path / "x.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="damaged"):
        SampleRecord.load(tmp_path / "x.root")

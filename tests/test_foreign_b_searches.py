"""Both searches in B decays on ntuples that darksieve did not make, by their configs alone.

Plain numpy draws with trees and branches of other names; their physics is invented. Each runs through every
stage: check, train, apply, optimise, scan, report, interpretation.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import uproot
from scipy.stats import norm

from darksieve.couplings import alp_branching_fraction
from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.limits.document import SearchModel
from darksieve.workflow.table import CandidateTable

RECOIL = """
search: recoil
luminosity_fb: 100
confidence_level: 0.90
beams: belle
event_key: [evt]
samples:
  qq:    {role: background, files: [qq.root], tree: rec, luminosity_fb: 20}
  bb:    {role: background, files: ["bb*.root"], tree: rec, luminosity_fb: 20}
  known: {role: background, files: [known.root], tree: rec, luminosity_fb: 100,
          peaking: {by: which, peaks: {D0_pi: {value: 7, mass: 1.865, channels: [pi]},
                                       psi_K: {value: 9, mass: 3.097, channels: [K]}}}}
  sig:   {role: signal, files: ["sig_*.root"], tree: rec, mass: mX, n_generated: 100000,
          mass_range: [0.5, 3.6]}
candidates: {select: "n_more == 0", columns: {M2_rec: "q2 * 1.0"}}
channels:
  pi: {select: "h == 211", n_parents: 1.0e8}
  K:  {select: "h == 321", n_parents: 1.0e8}
  Ds: {select: "h == 431", n_parents: 1.0e8, secondary_fraction: 0.05, range: [1.0, 2.6]}
  p:  {select: "h == 2212", n_parents: 1.0e8}
  D0: {select: "h == 421", n_parents: 0.9e8, secondary_fraction: 0.2, range: [1.0, 2.6]}
classifiers:
  - {name: jets, model: bdt, folds: 2, samples: [qq, sig], features: [roundness], lets_through: 0.95,
     options: {n_trees: 20, max_depth: 2}}
  - {name: tag, model: bdt, folds: 2, samples: [bb, known, sig], features: [purity, spare],
     options: {n_trees: 20, max_depth: 2}}
working_points: {objective: expected_limit, kind: threshold, min_effective_events: 40}
scan:
  observable: M2_rec
  range: [1.0, 3.2]
  masses: [1.4, 1.865, 2.2, 3.1]
  background: {family: chebyshev, order: 1, window_sigma: 10}
  nuisances:
    width: 0.05
    named: {pairs: {size: 0.014}, tracks: {size: 0.0035, sizes: {Ds: 0.011, D0: 0.007}},
            kaon: {size: 0.01, channels: [K, Ds, D0]}}
  method: asymptotic
interpretation:
  parameter: branching_fraction
  also: {pi: {channels: [pi]}, K: {channels: [K]}, D0: {channels: [D0]}}
tracking: {enabled: false}
"""

H = {"pi": 211, "K": 321, "Ds": 431, "p": 2212, "D0": 421}
SIGMA = 0.12  # GeV², of the squared recoil mass


def _write(path, tree, columns):
    with uproot.recreate(path) as file:
        file.mktree(tree, {name: values.dtype for name, values in columns.items()})
        file[tree].extend(columns)


def _recoil(path, rng, n, first, *, h, q2, round_, pure, **more):
    columns = {
        "evt": (first + np.arange(n)).astype(np.int64),
        "h": np.broadcast_to(np.asarray(h, np.int32), n).copy(),
        "q2": np.asarray(q2, float),
        "n_more": (rng.random(n) < 0.2).astype(np.int32),
        "roundness": rng.normal(round_, 1, n),
        "purity": rng.normal(pure, 1, n),
        "spare": rng.exponential(0.3 if pure else 0.6, n),
    }
    _write(path, "rec", columns | more)


def _peak(rng, n, mass):
    return mass**2 + SIGMA * rng.normal(size=n)


@pytest.fixture(scope="module")
def recoil(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recoil")
    rng = np.random.default_rng(11)
    all_h = np.array(list(H.values()), np.int32)

    def flat(n):
        return rng.uniform(-0.5, 13, n)

    _recoil(
        folder / "qq.root", rng, 12_000, 1, h=rng.choice(all_h, 12_000), q2=flat(12_000), round_=0, pure=2
    )
    # neither of these files has all five channels
    for i, own in enumerate((all_h[:3], all_h[2:])):
        _recoil(
            folder / f"bb{i}.root",
            rng,
            6000,
            10**6 * (i + 1),
            h=rng.choice(own, 6000),
            q2=flat(6000),
            round_=2,
            pure=0,
        )
    which = rng.choice([7, 9, 11], 4000)
    q2 = np.where(
        which == 7, _peak(rng, 4000, 1.865), np.where(which == 9, _peak(rng, 4000, 3.097), flat(4000))
    )
    h = np.where(which == 9, H["K"], H["pi"])
    more = {"which": which.astype(np.int32)}
    _recoil(folder / "known.root", rng, 4000, 5 * 10**6, h=h, q2=q2, round_=2, pure=1, **more)
    for i, (name, number) in enumerate(H.items()):
        mass = rng.uniform(0.5, 3.6, 3000)
        q2 = mass**2 + SIGMA * rng.normal(size=3000)
        first = 10**7 * (i + 1)
        _recoil(folder / f"sig_{name}.root", rng, 3000, first, h=number, q2=q2, round_=2, pure=2, mX=mass)
    (folder / "recoil.yaml").write_text(RECOIL)
    return folder


def darksieve(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-c", "from darksieve.cli import main; main()", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "DARKSIEVE_CACHE": "off"},
        capture_output=True,
        text=True,
        check=False,
    )


def _json(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def recoil_run(recoil):
    done = darksieve(recoil, "run", "recoil.yaml", "-o", "run")
    assert done.returncode == 0, done.stderr
    return recoil / "run"


@pytest.mark.slow
class TestFiveChannelRecoil:
    def test_the_first_stage_feeds_the_second_and_both_are_cut_on_together(self, recoil_run):
        stages = _json(recoil_run / "manifest.json")["stages"]
        learnt = stages["train.tag"]["candidates_to_train_on"]
        assert set(learnt["jets"]["gates"]) == set(H)
        assert learnt["jets"]["candidates"] < learnt["samples"]
        boundaries = _json(recoil_run / "working_points.json")["boundaries"]
        assert {b["classifier"] for b in boundaries.values()} == {"tag"}
        # continuum looks like signal to the second stage, so the first one is cut on
        assert any(b["gates"]["edges"]["jets"] is not None for b in boundaries.values())

    def test_every_channel_has_limits_of_its_own_and_all_together(self, recoil_run):
        points = _json(recoil_run / "limits.json")["points"]
        assert [p["status"] for p in points] == ["converged"] * 4
        single = _json(recoil_run / "limits_D0.json")["points"]
        assert [p["status"] for p in single] == ["converged"] * 3 + [
            "no_signal"
        ]  # 3.1 GeV is out of its range
        together = [p["expected"]["0"] for p in points]
        alone = [p["expected"]["0"] for p in _json(recoil_run / "limits_pi.json")["points"]]
        assert all(a <= 1.02 * b for a, b in zip(together, alone, strict=True))

    def test_known_decays_peak_in_the_fit_of_their_channel_and_cost_reach_there(self, recoil_run):
        document = _json(recoil_run / "search.json")
        peaks = {
            (point["mass"], channel): [peak["name"] for peak in entry["background"].get("peaking", ())]
            for point in document["points"]
            for channel, entry in point.get("channels", {}).items()
        }
        assert peaks[1.865, "pi"] == ["D0_pi"]
        assert peaks[3.1, "K"] == ["psi_K"]
        assert not peaks[1.865, "p"]
        assert not peaks[3.1, "p"]
        limits = {
            channel: {
                p["mass"]: p["expected"]["0"] for p in _json(recoil_run / f"limits_{channel}.json")["points"]
            }
            for channel in ("pi", "K")
        }
        # pi and K differ in their peaks only: each loses where its own is
        assert limits["pi"][1.865] > 1.5 * limits["K"][1.865]
        assert limits["K"][3.1] > 1.5 * limits["pi"][3.1]

    def test_a_shared_nuisance_has_the_size_of_each_channel(self, recoil_run):
        document = _json(recoil_run / "search.json")
        nuisances = {n["name"]: n for n in document["nuisances"]}
        assert nuisances["tracks"]["size"] == 0.0035
        assert nuisances["kaon"]["channels"] == ["K", "Ds", "D0"]
        entries = document["points"][0]["channels"]
        assert entries["Ds"]["sizes"] == {"tracks": 0.011}
        assert entries["D0"]["sizes"] == {"tracks": 0.007}
        assert "sizes" not in entries["pi"]

    def test_apply_gives_the_categories_of_both_stages(self, recoil, recoil_run):
        for stage, source in (("jets", "sig_pi.root"), ("tag", "one.root")):
            out = "one.root" if stage == "jets" else "two.root"
            done = darksieve(recoil, "apply", f"run/bundles/{stage}", source, "-o", out, "--tree", "rec")
            assert done.returncode == 0, done.stderr
        applied = uproot.open(recoil / "two.root")["rec"].arrays(library="np")
        assert {"jets_score", "tag_score", "tag_category"} <= set(applied)
        kept = applied["tag_category"] > 0
        assert 0.2 < kept.mean() < 1
        assert applied["tag_score"][kept].mean() > applied["tag_score"][~kept].mean()

    def test_report_and_interpretation_are_written(self, recoil_run):
        assert _json(recoil_run / "interpretation.json")["parameter"] == {
            "name": "branching_fraction",
            "unit": "1",
        }
        report = (recoil_run / "report.html").read_text()
        assert "D0_pi" in report
        for name in ("limits", "limits_pi", "spectrum_pi", "scores_jets", "scores_tag"):
            assert (recoil_run / "figures" / f"{name}.png").is_file()


KAONS = """
search: kaons
luminosity_fb: 100
confidence_level: 0.90
beams: belle
event_key: [evt]
samples:
  qq:  {role: background, files: [jets.root], tree: cands, luminosity_fb: 50}
  eta: {role: background, files: [eta.root], tree: cands, luminosity_fb: 500, peaking: true}
  kp:  {role: signal, files: [kp.root], tree: cands, mass: m0, n_generated: 20000, mass_range: [0.3, 3.2]}
  ks:  {role: signal, files: [ks.root], tree: cands, mass: m0, n_generated: 20000, mass_range: [0.3, 3.2]}
  kxp: {role: signal, files: [kxp.root], tree: cands, mass: m0, n_generated: 20000, mass_range: [0.3, 3.2]}
  kx0: {role: signal, files: [kx0.root], tree: cands, mass: m0, n_generated: 20000, mass_range: [0.3, 3.2]}
candidates: {select: "abs(dE) < 0.2"}
channels:
  kp:  {select: "mode == 10 and abs(dE) < 0.1", sideband: "mode == 10", n_parents: 1.0e8, hadron: K+}
  ks:  {select: "mode == 11 and abs(dE) < 0.1", n_parents: 1.0e8, hadron: K0, secondary_fraction: 0.346}
  kxp: {select: "mode == 20 and abs(dE) < 0.1", n_parents: 1.0e8, hadron: "K*+", secondary_fraction: 0.56,
        range: [0.4, 2.5]}
  kx0: {select: "mode == 21 and abs(dE) < 0.1", n_parents: 1.0e8, hadron: "K*0", secondary_fraction: 0.667,
        range: [0.4, 2.5]}
classifiers:
  - {name: jets, model: bdt, folds: 2, features: [roundness], options: {n_trees: 20, max_depth: 2}}
working_points: {objective: expected_limit, kind: categories, n_categories: 2, min_effective_events: 40}
scan:
  observable: m_two
  range: [0.4, 3.0]
  masses: [0.55, 0.62, 1.5, 2.8]
  vetoes: [[0.50, 0.58]]
  background: {family: chebyshev, order: 1, window_sigma: 15}
  nuisances: {named: {pairs: {size: 0.014}, ks: {size: 0.02, channels: [ks, kxp]}}}
  method: asymptotic
interpretation:
  parameter: g_aW
  prompt_mm: 10
  published: babar_2022_kplus_alp
  published_range: belle_2025_k_alp
  also: {B_to_K: {channels: [kp, ks]}, B_to_Kstar: {channels: [kxp, kx0]}}
tracking: {enabled: false}
"""
MODES = {"kp": 10, "ks": 11, "kxp": 20, "kx0": 21}


def _pairs(path, rng, n, first, *, mode, m, roundness, **more):
    columns = {
        "evt": (first + np.arange(n)).astype(np.int64),
        "mode": np.broadcast_to(np.asarray(mode, np.int32), n).copy(),
        "dE": rng.normal(0, 0.06, n),
        "m_two": np.asarray(m, float),
        "roundness": rng.normal(roundness, 1, n),
    }
    _write(path, "cands", columns | more)


@pytest.fixture(scope="module")
def kaons(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kaons")
    rng = np.random.default_rng(12)
    modes = np.array(list(MODES.values()), np.int32)
    n = 16_000
    _pairs(
        folder / "jets.root", rng, n, 1, mode=rng.choice(modes, n), m=rng.uniform(0.1, 3.5, n), roundness=0
    )
    eta = rng.normal(0.548, 0.015, 2000)
    # the eta is seen with a K+ or a K*0 only: no file of it has the other modes
    _pairs(folder / "eta.root", rng, 2000, 10**6, mode=rng.choice([10, 21], 2000), m=eta, roundness=2)
    for i, (name, mode) in enumerate(MODES.items()):
        mass = rng.uniform(0.3, 3.2, 4000)
        m = mass + rng.normal(0, 0.015, 4000)
        _pairs(folder / f"{name}.root", rng, 4000, 10**7 * (i + 1), mode=mode, m=m, roundness=2, m0=mass)
    (folder / "kaons.yaml").write_text(KAONS)
    return folder


@pytest.fixture(scope="module")
def kaon_run(kaons):
    done = darksieve(kaons, "run", "kaons.yaml", "-o", "run")
    assert done.returncode == 0, done.stderr
    return kaons / "run"


@pytest.mark.slow
class TestFourKaonModes:
    def test_both_branching_fractions_and_the_coupling_have_limits(self, kaon_run):
        statuses = ["vetoed", "converged", "converged", "converged"]
        assert [p["status"] for p in _json(kaon_run / "limits.json")["points"]] == statuses
        assert [p["status"] for p in _json(kaon_run / "limits_B_to_K.json")["points"]] == statuses
        star = [p["status"] for p in _json(kaon_run / "limits_B_to_Kstar.json")["points"]]
        assert star == [*statuses[:3], "no_signal"]  # K* is scanned up to 2.5 GeV
        coupling = _json(kaon_run / "interpretation.json")
        assert coupling["parameter"] == {"name": "g_aW", "unit": "1/GeV"}
        assert [p["prompt"] for p in coupling["points"]][1:] == [
            p["flight_mm_at_median"] <= 10 for p in coupling["points"][1:]
        ]

    def test_four_modes_together_have_the_reach_that_their_parts_add_up_to(self, kaon_run):
        """Test statistics on Asimov sets add up: of K and of K* at the limit of all, to that of a limit."""

        def information(part, mass, strength):
            model = SearchModel.load(kaon_run / f"search_{part}.json")
            curve = answer_documents(
                [model], confidence_level=0.9, method="asymptotic", cls_at=strength, look_elsewhere=False
            )
            (point,) = (point for point in curve.points if point.mass == mass)
            return norm.isf(point.cls_expected["0"] / 2) ** 2

        limits = {p["mass"]: p["expected"] for p in _json(kaon_run / "limits.json")["points"]}
        for mass in (0.62, 1.5):
            limit = limits[mass]["0"]
            # the first channel of each part gives its parameter its meaning: K+ and K*+
            ratio = alp_branching_fraction("K*+", mass, 1.0) / alp_branching_fraction("K+", mass, 1.0)
            total = information("B_to_K", mass, limit) + information("B_to_Kstar", mass, limit * ratio)
            # but for the nuisances that both parts share, of 1.4 and 2 %
            assert total == pytest.approx(norm.isf(0.05) ** 2, rel=0.02)

    def test_candidates_beside_a_selection_stand_for_background_inside(self, kaons, kaon_run):
        columns = uproot.open(kaons / "jets.root")["cands"].arrays(["mode", "dE"], library="np")
        of_mode = columns["mode"] == 10
        inside = of_mode & (np.abs(columns["dE"]) < 0.1)
        wide = of_mode & (np.abs(columns["dE"]) < 0.2)
        found = _json(kaon_run / "metrics.json")["sidebands"]
        assert list(found) == ["kp"]  # no other channel has a sideband
        assert list(found["kp"]) == ["qq"]  # and a peak is not taken from there
        entry = found["kp"]["qq"]
        assert entry["used"]
        assert (entry["n_inside"], entry["n_outside"]) == (inside.sum(), wide.sum() - inside.sum())
        assert abs(entry["tilt"]) < 4 * entry["tilt_error"]  # the shape knows nothing of dE
        # at tighter cuts none of the few beside may pass, and then no ratio is known
        told = [one for one in entry["passing"] if one["ratio"] is not None]
        assert [one["signal_efficiency"] for one in told[:2]] == [0.9, 0.7]
        for one in told:
            assert abs(one["ratio"] - 1) < 4 * one["error"]
        table = CandidateTable.load(kaon_run / "candidates.parquet")
        rows = table.of_channel("kp")
        rows = rows.select(rows.in_samples(["qq"]))
        assert len(rows) == wide.sum()
        assert rows.weight.sum() == pytest.approx(2 * inside.sum(), rel=1e-6)  # 50/fb stand for 100/fb
        learnt = _json(kaon_run / "manifest.json")["stages"]["train.jets"]["candidates_to_train_on"]
        assert learnt["channels"] > int(table.is_signal.sum()) + wide.sum()

    def test_leftovers_beside_the_veto_are_peaks_of_the_modes_that_have_them(self, kaon_run):
        document = _json(kaon_run / "search.json")
        (point,) = (p for p in document["points"] if p["mass"] == 0.62)
        peaking = {c: bool(e["background"].get("peaking")) for c, e in point["channels"].items()}
        assert any(peaking[f"kp_{i}"] for i in (1, 2))
        assert any(peaking[f"kx0_{i}"] for i in (1, 2))
        assert not any(peaking[f"{mode}_{i}"] for mode in ("ks", "kxp") for i in (1, 2))

    def test_the_report_shows_published_limits_and_says_what_makes_the_difference(self, kaon_run):
        report = (kaon_run / "report.html").read_text()
        assert "What makes the difference to BaBar 2022" in report
        assert "What makes the difference to Belle 2025" in report
        assert "toy" in report
        assert "Peaking backgrounds" in report
        for name in ("limits", "coupling", "limits_B_to_K", "limits_B_to_Kstar", "published"):
            assert (kaon_run / "figures" / f"{name}.png").is_file()

    def test_apply_gives_scores_and_categories(self, kaons, kaon_run):
        done = darksieve(kaons, "apply", "run/bundles/jets", "kx0.root", "-o", "out.root", "--tree", "cands")
        assert done.returncode == 0, done.stderr
        applied = uproot.open(kaons / "out.root")["cands"].arrays(library="np")
        assert set(np.unique(applied["jets_category"])) <= {0, 1, 2}
        assert (applied["jets_category"] > 0).mean() > 0.2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("samples.known.peaking.by=whihc", "whihc"),
        ("samples.known.peaking.peaks.D0_pi.channels=[pj]", "did you mean 'p'"),
        ("samples.sig.peaking=true", "peaking is for backgrounds"),
        ("samples.known.peaking.peaks={}", "peaks"),
        ("scan.nuisances.named.kaon.sizes={pi: 0.1}", "'pi' is none of its channels"),
        ("classifiers.1.features=[purity, which]", "which"),
    ],
)
def test_what_is_wrong_with_peaks_stages_and_nuisances_is_one_clear_error(recoil, override, message):
    done = darksieve(recoil, "check", "recoil.yaml", "--set", override)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr

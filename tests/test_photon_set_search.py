"""Events of two, three and four photons, from the simulation through the reader to scores."""

import json

import numpy as np
import pytest

from darksieve.config_loading import load_config
from darksieve.datasets.beams import Beams
from darksieve.datasets.candidates import PairingRecipe
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.events import Role
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import SampleReader
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.datasets.simulation.production import simulate
from darksieve.errors import InputError
from darksieve.workflow.chain import run_chain

PHOTONS = ("gamma1", "gamma2", "gamma3", "gamma4")


@pytest.fixture(scope="module")
def few_signal_events(tmp_path_factory):
    path = tmp_path_factory.mktemp("few") / "signal.root"
    settings = PhotonSettings.from_mapping({"selection": {"clusters": "two_to_four"}})
    simulate("gamma_alp", path, masses={2.0: 1500}, settings=settings)
    return path


def read(path, columns, **more):
    recipe = ReadRecipe(
        columns=columns,
        luminosity_fb=1.0,
        pairings=PairingRecipe(PHOTONS, true_pair="genPair", kinematic_fit=True),
        beams=Beams.named("belle2"),
    )
    sample = Sample("signal", Role.SIGNAL, (path,), mass="genM_a", n_generated={2.0: 1500}, **more)
    return SampleReader(sample, recipe).read()


def test_absent_photons_are_read_as_nan_and_the_true_pair_has_its_mass(few_signal_events):
    columns = ("n_photons", "E_recoil", "E_extra", "extra_clusterE1E9", "recoil_clusterTiming", "fit_chi2")
    events = read(few_signal_events, columns)
    n_photons = events["n_photons"]
    assert set(np.unique(n_photons)) == {2, 3, 4}
    for name, needed in (
        ("E_recoil", 3), ("recoil_clusterTiming", 3), ("E_extra", 4), ("extra_clusterE1E9", 4),
    ):  # fmt: skip
        np.testing.assert_array_equal(np.isnan(events[name]), n_photons < needed, err_msg=name)
    assert (events["fit_chi2"][n_photons == 2] == 0).all()
    true = events["is_true_pair"].astype(bool)
    # fitted resolution 13 MeV at 2 GeV: facts of this toy; the median of N pairs is known to 1.25 σ / √N
    fitted = events["M_gg"][true & (n_photons == 3)]
    assert np.median(fitted) == pytest.approx(2.0, abs=5 * 1.25 * 0.013 / np.sqrt(len(fitted)))


def test_a_momentum_that_every_event_has_may_not_be_nan(few_signal_events, tmp_path):
    import uproot

    columns = uproot.open(few_signal_events)["ntuple"].arrays(library="np")
    columns["gamma2_E"][5] = np.nan
    with uproot.recreate(tmp_path / "bad.root") as file:
        file.mktree("ntuple", {k: v.dtype for k, v in columns.items()}).extend(columns)
    with pytest.raises(InputError, match="gamma2_E"):
        read(tmp_path / "bad.root", ("n_photons",))


@pytest.mark.slow
@pytest.mark.long
def test_a_search_with_the_set_network_rejects_what_the_leading_order_lacks(tmp_path):
    """Four photons and fake clusters are rejected at 90 % signal efficiency, and it is reported."""
    sizes = {"signal": 8000, "qed_3gamma": 5000, "qed_4gamma": 2000, "gamma_gamma": 5000}
    dropped = ("ee_gamma", "gamma_eta", "gamma_etaprime", "gamma_omega")
    config = load_config(
        "gamma_alp_set",
        [f"samples.{name}.settings.n_events={n}" for name, n in sizes.items()]
        + [
            "classifiers.0.folds=2",
            "classifiers.0.options.epochs=4",
            "classifiers.0.options.batch_size=1024",
            "tracking.enabled=false",
        ],
    )
    samples = {name: sample for name, sample in config.samples.items() if name not in dropped}
    run_chain(config.model_copy(update={"samples": samples}), tmp_path / "run", "train", workers=1)
    entry = json.loads((tmp_path / "run" / "metrics.json").read_text())["classifiers"]["photons"]
    left = {
        name: (own["background_efficiency"]["0.9"], own["background_efficiency_error"]["0.9"])
        for name, own in entry["by_process"].items()
    }
    assert set(left) == {"qed_3gamma", "qed_4gamma", "gamma_gamma"}
    value, error = left["qed_4gamma"]
    assert value + 3 * error < 0.25
    value, error = left["gamma_gamma"]
    assert value + 3 * error < 0.85  # by chance 0.9; 0.72 ± 0.01 was found with so few events
    # most of e+e- → γγ lies beyond the scan, at M(γγ) = √s, where the network is not trained
    own = entry["by_process"]["gamma_gamma"]["in_scan"]
    assert own["n_candidates"] < 0.2 * entry["by_process"]["gamma_gamma"]["n_candidates"]
    left = own["background_efficiency"]["0.9"], own["background_efficiency_error"]["0.9"]
    assert left[0] + 3 * left[1] < 0.5  # 0.11 was found with 40 000 events

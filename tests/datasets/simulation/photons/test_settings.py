"""Settings: from a config's mapping and back, and what is refused."""

import json

import numpy as np
import pytest

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.photons.detector import Detector
from darksieve.datasets.simulation.photons.measurement import measure
from darksieve.datasets.simulation.photons.qed import ThreePhotonGenerator
from darksieve.datasets.simulation.photons.settings import GeneratorCuts, PhotonSettings
from darksieve.errors import InputError


def test_mapping_there_and_back():
    settings = PhotonSettings.from_mapping(
        {
            "beams": "belle",
            "detector": {"photon_efficiency": 0.9},
            "selection": {"clusters": "at_least"},
            "generator": {"min_energy": 0.3},
            "cross_sections": {"gamma_eta_fb": 5},
        }
    )
    assert settings.beams == Beams.named("belle")
    assert settings.detector == Detector(photon_efficiency=0.9)
    assert settings.cross_sections.gamma_eta_fb == 5.0
    through_json = json.loads(json.dumps(settings.to_mapping()))
    assert PhotonSettings.from_mapping(through_json) == settings


def test_an_empty_mapping_is_the_default():
    assert PhotonSettings.from_mapping({}) == PhotonSettings()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"detectr": {}}, r"simulate\.detectr: unknown key; did you mean 'detector'"),
        ({"detector": {"photon_eficiency": 1}}, r"detector\.photon_eficiency.*'photon_efficiency'"),
        ({"detector": {"photon_efficiency": "high"}}, r"photon_efficiency is 'high'; it is a number"),
        ({"detector": {"photon_efficiency": True}}, r"photon_efficiency is True; it is a number"),
        ({"selection": {"clusters": 3}}, r"selection\.clusters is 3; it is a word"),
        ({"selection": 3}, r"simulate\.selection is 3; it is a mapping"),
        ({"beams": "bell2"}, r"did you mean 'belle2'"),
    ],
)
def test_wrong_settings_are_refused_with_their_place(values, message):
    with pytest.raises(InputError, match=message):
        PhotonSettings.from_mapping(values, place="simulate")


def test_a_generator_cut_that_bites_into_the_selection_is_refused():
    with pytest.raises(InputError, match=r"generator\.min_energy is 0\.5"):
        PhotonSettings(generator=GeneratorCuts(min_energy=0.5))


@pytest.mark.parametrize("beams", ["belle2", "belle", {"electron_gev": 5.3, "positron_gev": 5.3}])
def test_default_generator_cuts_lose_nothing_that_the_preselection_keeps(beams):
    settings = PhotonSettings.from_mapping({"beams": beams})
    min_energy, low, high = settings.generator_cuts
    # a generator with room on every side: each event it selects passes the default cuts
    wide = ThreePhotonGenerator(settings.beams.sqrt_s, 0.8 * min_energy, -0.99, 0.99)
    photons = wide.generate(np.random.default_rng(1), 200_000)
    quiet = Detector(beam_background_mean=0.0, split_off_probability=0.0)
    measured = measure(
        np.random.default_rng(2),
        photons,
        beams=settings.beams,
        detector=quiet,
        selection=settings.selection,
    )
    seen = photons[measured.event]
    cosine = seen[..., 2] / seen[..., 3]
    assert seen[..., 3].min() > min_energy
    assert cosine.min() > low
    assert cosine.max() < high
    # and they are not much wider than needed
    assert cosine.min() < low + 0.002
    assert cosine.max() > high - 0.002


def test_open_generator_cuts_may_be_written_as_null():
    assert PhotonSettings.from_mapping({"generator": {"min_energy": None}}) == PhotonSettings()

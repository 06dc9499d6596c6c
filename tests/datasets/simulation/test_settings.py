"""Settings: from a config's mapping and back, and what is refused."""

import json

import pytest

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.detector import Detector
from darksieve.datasets.simulation.settings import GeneratorCuts, SimulationSettings
from darksieve.errors import InputError


def test_mapping_there_and_back():
    settings = SimulationSettings.from_mapping(
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
    assert SimulationSettings.from_mapping(through_json) == settings


def test_an_empty_mapping_is_the_default():
    assert SimulationSettings.from_mapping({}) == SimulationSettings()


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
        SimulationSettings.from_mapping(values, place="simulate")


def test_a_generator_cut_that_bites_into_the_selection_is_refused():
    with pytest.raises(InputError, match=r"generator\.min_energy is 0\.5"):
        SimulationSettings(generator=GeneratorCuts(min_energy=0.5))

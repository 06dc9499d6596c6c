"""Data-taking periods: what a sample and a channel of one are worth."""

from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darksieve.config_loading import validate
from darksieve.workflow.channels import yield_per_efficiency
from darksieve.workflow.reading import Reading
from darksieve.workflow.samples import sample_with_files


def config_of(folder, parameter="branching_fraction", **channels):
    path = folder / "a.parquet"
    pq.write_table(pa.table({"__event__": [1, 2], "M_gg": [1.0, 2.0]}), path)
    background = {"role": "background", "files": [str(path)], "luminosity_fb": 50}
    signal = {"role": "signal", "files": [str(path)], "mass": 1.0, "n_generated": 100}
    samples = {}
    for period in ("belle", "belle2"):
        samples[f"{period}_qq"] = {**background, "period": period, "process": "continuum"}
        samples[f"{period}_alp"] = {**signal, "period": period, "process": "alp"}
    return validate(
        {
            "search": "s",
            "luminosity_fb": 1076,
            "periods": {
                "belle": {"luminosity_fb": 711, "beams": "belle"},
                "belle2": {"luminosity_fb": 365, "beams": "belle2"},
            },
            "samples": samples,
            "channels": channels or {"all": {"n_parents": 1e9}},
            "scan": {"observable": "M_gg", "range": [0.5, 3.0], "masses": [1.0]},
            "interpretation": {"parameter": parameter},
        }
    )


def test_samples_are_read_with_the_luminosity_and_beams_of_their_period(tmp_path):
    config = config_of(tmp_path)
    reading = Reading(config, ())
    recipes = {
        name: reading.recipe(sample_with_files(name, config.samples[name]))
        for name in ("belle_qq", "belle2_qq")
    }
    assert recipes["belle_qq"].luminosity_fb == 711
    assert recipes["belle2_qq"].luminosity_fb == 365
    assert recipes["belle_qq"].beams.sqrt_s != recipes["belle2_qq"].beams.sqrt_s
    assert recipes["belle_qq"].period == "belle"
    assert sum(recipe.signal_share for recipe in recipes.values()) == pytest.approx(1)


def test_parents_of_a_channel_are_those_of_its_period(tmp_path):
    # signal weights of a period carry its share of the luminosity, which the yield takes out again
    channels = {"old": {"period": "belle", "n_parents": 7e8}, "new": {"period": "belle2", "n_parents": 4e8}}
    context = SimpleNamespace(config=config_of(tmp_path, **channels))
    assert yield_per_efficiency(context, "old") * 711 / 1076 == pytest.approx(7e8)
    assert yield_per_efficiency(context, "new") * 365 / 1076 == pytest.approx(4e8)
    both = SimpleNamespace(config=config_of(tmp_path))
    assert yield_per_efficiency(both, "all") == pytest.approx(1e9)


def test_cross_sections_refer_to_the_luminosity_of_all_periods(tmp_path):
    channels = {"old": {"period": "belle"}, "new": {"period": "belle2"}}
    context = SimpleNamespace(config=config_of(tmp_path, "cross_section", **channels))
    assert yield_per_efficiency(context, "old") == 1076

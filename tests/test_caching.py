"""Runs share what they read and simulated, through a cache that can be seen and cleared."""

import json

import pytest

from darksieve.config import CacheConfig
from darksieve.config_loading import load_config
from darksieve.datasets.cache import Cache
from darksieve.errors import InputError
from darksieve.workflow.caching import clear_cache, describe_cache, open_cache
from darksieve.workflow.chain import run_chain

SMALL = [
    "tracking.enabled=false",
    "luminosity_fb=2",
    "samples.signal.settings={n_events: 3000, mass_range: [0.8, 3.4]}",
    "samples.qed_3gamma.settings.n_events=3000",
    "samples.gamma_gamma.settings.n_events=3000",
    "samples.gamma_eta.settings.n_events=400",
    "samples.gamma_etaprime.settings.n_events=400",
    "samples.gamma_omega.settings.n_events=400",
    "samples.qed_4gamma.settings.n_events=400",
    "samples.ee_gamma.settings.n_events=400",
    "scan.range=[1.0, 3.0]",
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DARKSIEVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_second_run_takes_its_samples_from_the_cache_and_they_are_the_same(folder, tmp_path, monkeypatch):
    config = load_config("gamma_alp", SMALL)
    run_chain(config, tmp_path / "one", "simulate")
    kept = Cache(folder).entries()
    assert {entry.kind for entry in kept} == {"simulation"}
    assert len(kept) == len(config.samples)
    monkeypatch.setattr(
        "darksieve.datasets.simulation.production.simulate", lambda *_, **__: pytest.fail("simulated again")
    )
    monkeypatch.setattr("darksieve.workflow.chain.check_search", lambda _: [])  # which simulates a few
    run_chain(config, tmp_path / "two", "simulate")
    stages = [json.loads((tmp_path / run / "manifest.json").read_text())["stages"] for run in ("one", "two")]
    assert stages[0]["simulate.signal"]["outputs"] == stages[1]["simulate.signal"]["outputs"]


def test_another_seed_is_another_sample(folder, tmp_path):
    only = ["samples.qed_3gamma.settings.n_events=1000", *SMALL[:1]]
    for seed in (1, 2):
        config = load_config("gamma_alp", [*SMALL, *only], seed)
        run_chain(config, tmp_path / str(seed), "simulate")
    assert len(Cache(folder).entries()) == 2 * len(config.samples)


def test_cache_is_shown_and_cleared(folder, tmp_path):
    assert list(describe_cache()) == [f"{folder}: 0 entries, 0.0 MB"]
    making = Cache(folder).begin("k" * 64, "events", "qed: a.root")
    (making.folder / "events.parquet").write_bytes(b"x" * 2_000_000)
    making.commit({"n_rows": 7})
    head, line = describe_cache()
    assert head == f"{folder}: 1 entries, 2.0 MB"
    assert line.startswith("k" * 12 + "  events           2.0 MB  used 20")
    assert line.endswith("qed: a.root, 7 rows")
    with Cache(folder).open("k" * 64):
        assert clear_cache() == f"{folder}: 0 entries removed, 1 in use stay"
    assert clear_cache() == f"{folder}: 1 entries removed"


def test_switched_off_cache_is_none_and_cannot_be_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("DARKSIEVE_CACHE", "off")
    assert open_cache(CacheConfig(folder=str(tmp_path))) is None
    with pytest.raises(InputError, match="switched off"):
        next(describe_cache())
    assert list(describe_cache(tmp_path)) == [f"{tmp_path}: 0 entries, 0.0 MB"]
    monkeypatch.setenv("DARKSIEVE_CACHE", str(tmp_path / "variable"))
    assert open_cache(CacheConfig(enabled=False)) is None
    assert open_cache(CacheConfig()).folder == tmp_path / "variable"
    assert open_cache(CacheConfig(folder=str(tmp_path / "config"))).folder == tmp_path / "config"


def test_command_line_shows_the_cache(folder):
    from typer.testing import CliRunner

    from darksieve.cli import app

    shown = CliRunner().invoke(app, ["cache", "show"])
    assert shown.output == f"{folder}: 0 entries, 0.0 MB\n"
    cleared = CliRunner().invoke(app, ["cache", "clear", "--folder", str(folder)])
    assert cleared.output == f"{folder}: 0 entries removed\n"

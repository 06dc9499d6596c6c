"""Searches with something missing: a channel without background or signal, a window without a bin.

Plain numpy draws; no physics is meant. Each runs up to its limits, without a report.
"""

import json
import logging

import numpy as np
import pytest
import uproot
import yaml

from darksieve.config_loading import validate
from darksieve.errors import InputError
from darksieve.workflow.chain import run_chain

CONFIG = """
search: faults
luminosity_fb: 10
confidence_level: 0.9
beams: belle
event_key: [evt]
samples:
  bkg: {role: background, files: [bkg.root], tree: t, luminosity_fb: 5}
  sig: {role: signal, files: [sig.root], tree: t, mass: m0, n_generated: 20000, mass_range: [0.3, 3.0]}
channels:
  full:  {select: "ch == 1", n_parents: 1.0e8}
  other: {select: "ch == 2", n_parents: 1.0e8}
scan: {observable: M, range: [0.5, 2.5], masses: [1.0, 1.5, 2.0], method: asymptotic,
       background: {family: chebyshev, order: 1, window_sigma: 10}}
interpretation: {parameter: branching_fraction, also: {full: {channels: [full]}, other: {channels: [other]}}}
tracking: {enabled: false}
"""
CLASSIFIER = {
    "classifiers": [
        {
            "name": "c",
            "model": "bdt",
            "features": ["x"],
            "folds": 2,
            "options": {"n_trees": 10, "max_depth": 2},
        }
    ],
    "working_points": {"kind": "threshold", "min_effective_events": 40},
}


def _write(path, rng, n, first, channels, *, signal):
    gen = rng.uniform(0.3, 3, n)
    columns = {
        "evt": (first + np.arange(n)).astype(np.int64),
        "ch": rng.choice(np.asarray(channels, np.int32), n),
        "M": gen + rng.normal(0, 0.02, n) if signal else rng.uniform(0.1, 3.3, n),
        "x": rng.normal(1.5 if signal else 0, 1, n),
        **({"m0": gen} if signal else {}),
    }
    with uproot.recreate(path) as file:
        file.mktree("t", {name: values.dtype for name, values in columns.items()})
        file["t"].extend(columns)


@pytest.fixture
def search(tmp_path, monkeypatch):
    """Runs the search up to its limits: ``search(background=[1], signal=[1, 2], **changes)``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DARKSIEVE_CACHE", "off")

    def run(background=(1, 2), signal=(1, 2), *, scan=(), unblind=False, **changes):
        rng = np.random.default_rng(1)
        _write("bkg.root", rng, 6000, 1, background, signal=False)
        _write("sig.root", rng, 6000, 10**6, signal, signal=True)
        config = yaml.safe_load(CONFIG) | changes
        config["scan"] |= dict(scan)
        run_chain(validate(config), tmp_path / "run", "scan", unblind=unblind)
        return {path.stem: json.loads(path.read_text()) for path in (tmp_path / "run").glob("*.json")}

    return run


@pytest.mark.parametrize("unblind", [False, True])
def test_a_channel_without_background_takes_no_part_and_it_is_said(search, caplog, unblind):
    with caplog.at_level(logging.WARNING):
        files = search(background=[1], unblind=unblind)
    assert "channel other: no candidate of simulated background" in caplog.text
    assert [list(point["channels"]) for point in files["search"]["points"]] == [["full"]] * 3
    assert [point["expected"]["0"] for point in files["limits"]["points"]] == [
        point["expected"]["0"] for point in files["limits_full"]["points"]
    ]
    assert "limits_other" not in files
    assert all((point["observed"] is None) is not unblind for point in files["limits"]["points"])


@pytest.mark.slow
def test_so_it_is_with_a_classifier(search, caplog):
    with caplog.at_level(logging.WARNING):
        files = search(background=[1], **CLASSIFIER)
    assert "channel other: no candidate of simulated background" in caplog.text
    assert {point["channel"] for point in files["working_points"]["points"]} == {"full"}
    assert [point["status"] for point in files["limits"]["points"]] == ["converged"] * 3


def test_no_background_in_any_channel_is_an_error(search):
    with pytest.raises(InputError, match="sample bkg: no candidate passes the selection of any channel"):
        search(background=[3])


def test_a_channel_without_signal_is_an_error_that_names_it(search):
    with pytest.raises(InputError, match=r"channel other: no signal candidate .* loosen channels\.other"):
        search(signal=[1])


def test_a_window_without_a_bin_beside_the_vetoes_has_no_limit_and_it_is_said(search, caplog):
    with caplog.at_level(logging.WARNING):
        files = search(scan={"vetoes": [[1.2, 1.499], [1.501, 1.8]]})
    statuses = [point["status"] for point in files["limits"]["points"]]
    assert statuses == ["converged", "no_signal", "converged"]
    assert "the fit has no limit at 1.5 GeV" in caplog.text


def test_hypotheses_inside_a_veto_are_marked(search):
    files = search(scan={"vetoes": [[0.6, 1.6]]})
    assert [point["status"] for point in files["limits"]["points"]] == ["vetoed", "vetoed", "converged"]


def test_masses_beyond_the_simulated_signal_are_refused_before_any_work(search):
    with pytest.raises(InputError, match=r"signal \(samples\.sig\) was simulated from 0\.3 to 3 GeV"):
        search(scan={"range": [0.1, 3.5], "masses": [0.1, 1.0, 3.4]})

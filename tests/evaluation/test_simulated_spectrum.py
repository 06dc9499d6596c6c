"""Streams of simulated events: the counts of the file that they spare, bounded memory, refusals."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from darksieve.datasets.beams import Beams
from darksieve.datasets.candidates import PairingRecipe
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.events import Role, SampleInfo
from darksieve.datasets.in_memory import events_in_memory
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import SampleReader
from darksieve.datasets.simulation.photons.plans import BLOCK
from darksieve.datasets.simulation.plans import Block
from darksieve.datasets.simulation.production import simulate
from darksieve.datasets.simulation.request import SampleRequest
from darksieve.errors import InputError
from darksieve.evaluation.simulated_spectrum import simulated_spectrum
from darksieve.models.bundle import Bundle
from darksieve.models.estimator import make_classifier, parse_options

FEATURES = ("M_gg", "E_recoil", "cosHelicity", "pair1_clusterLAT")
RECIPE = ReadRecipe(
    columns=("M_gg", "fit_chi2", "hard"),
    luminosity_fb=1.0,
    select="fit_chi2 < 40 and M_gg > 0.1",
    pairings=PairingRecipe(
        ("gamma1", "gamma2", "gamma3"), ("fit_px", "fit_py", "fit_pz", "fit_E"), kinematic_fit=True
    ),
    beams=Beams.named("belle2"),
    derived={"hard": "max(E_pair1, E_recoil)"},
)
N = 2 * BLOCK + 5_000
EDGES = np.linspace(0.0, 10.6, 54)
CLASSES = (0.0, 0.4, 0.5, 0.6, 1.0)


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory):
    rng = np.random.default_rng(1)
    X = rng.uniform(0, 3, (600, 4)).astype(np.float32)
    options = parse_options("photon_network", {"epochs": 1, "hidden": [4]})
    labels = (X[:, 1] > 1.5).astype(int)
    classifiers = tuple(
        make_classifier("photon_network", options, features=FEATURES, seed=k).fit(X, labels) for k in range(3)
    )
    path = tmp_path_factory.mktemp("bundle") / "photons"
    schema = dict.fromkeys(FEATURES, "float64")
    Bundle("photons", "photon_network", options, FEATURES, classifiers, schema).save(path)
    return path


@pytest.fixture(scope="module")
def from_file(tmp_path_factory, bundle_path):
    """Events of the file that the stream spares, and their scores."""
    path = tmp_path_factory.mktemp("file") / "qed.root"
    record = simulate("qed_3gamma", path, n_events=N, seed=3)
    sample = Sample("qed_3gamma", Role.BACKGROUND, (path,), luminosity_fb=1.0)
    recipe = dataclasses.replace(RECIPE, columns=(*RECIPE.columns, *FEATURES))
    events = SampleReader(sample, recipe).read()
    return record, events, Bundle.load(bundle_path).score(events)


def spectrum(bundle_path, *, workers=1, request=None, recipe=RECIPE, **changes):
    request = request or SampleRequest("qed_3gamma", n_events=N, seed=3)
    given = {"observable": "M_gg", "edges": EDGES, "score_edges": CLASSES, **changes}
    return simulated_spectrum(request, recipe, bundle_path, workers=workers, **given)


def test_stream_counts_what_the_file_would_give(bundle_path, from_file):
    record, events, scores = from_file
    calls = []
    made = spectrum(bundle_path, progress=lambda done, total: calls.append((done, total)))
    expected, _, _ = np.histogram2d(scores, events["M_gg"], bins=(CLASSES, EDGES))
    np.testing.assert_array_equal(made.counts, expected)
    assert (made.n_generated, made.n_events) == (N, record.n_selected)
    assert made.n_candidates == len(events)
    assert made.counts.sum() == len(events)
    assert calls[-1] == (N, N)


@pytest.mark.slow
def test_stream_counts_the_same_for_two_workers(bundle_path):
    request = SampleRequest("gamma_alp_pseudo_data", luminosity_fb=0.9, seed=2)
    one, two = (spectrum(bundle_path, workers=workers, request=request) for workers in (1, 2))
    np.testing.assert_array_equal(one.counts, two.counts)
    assert one.n_generated == two.n_generated > 4 * BLOCK


def test_events_in_memory_are_those_of_the_file(from_file):
    _, events, _ = from_file
    planned = SampleRequest("qed_3gamma", n_events=N, seed=3).plan()
    made: Block = planned.plan.make(0)
    recipe = dataclasses.replace(RECIPE, columns=(*RECIPE.columns, *FEATURES))
    here = events_in_memory(made.columns, recipe, SampleInfo("qed_3gamma", Role.BACKGROUND))
    n = len(here)
    assert n > 1000
    np.testing.assert_array_equal(here.key, events.key[:n])
    np.testing.assert_array_equal(here.candidate, events.candidate[:n])
    for name in recipe.columns:
        np.testing.assert_array_equal(here[name], events[name][:n], err_msg=name)


def test_rows_of_a_file_can_be_the_candidates():
    columns = {"__event__": np.arange(5), "m": np.arange(5.0), "q": np.array([1, -1, 1, -1, 1])}
    recipe = ReadRecipe(("m",), luminosity_fb=1.0, select="q > 0 and m < 4", event_key=("__event__",))
    events = events_in_memory(columns, recipe, SampleInfo("s", Role.DATA))
    assert events["m"].tolist() == [0.0, 2.0]
    assert set(events.columns) == {"m"}


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        ({"__event__": np.arange(3)}, {}, "no column 'm'"),
        ({"__event__": np.arange(3), "m": np.ones(3)}, {"missing": {"m": (-999.0,)}}, "mean 'missing'"),
        ({"m": np.ones(3)}, {}, "no event key"),
    ],
)
def test_columns_in_memory_are_held_to_the_recipe(columns, changes, message):
    recipe = ReadRecipe(("m",), luminosity_fb=1.0, event_key=("__event__",), **changes)
    with pytest.raises(InputError, match=message):
        events_in_memory(columns, recipe, SampleInfo("s", Role.DATA))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edges": [1.0, 1.0]}, "edges: two or more ascending"),
        ({"score_edges": [0.5]}, "score_edges: two or more"),
        ({"workers": 0}, "workers is 0"),
        ({"observable": "M_gggg"}, "no column 'M_gggg'"),
        ({"request": SampleRequest("qed_3gamma", n_candidates=10)}, "not n_candidates"),
    ],
)
def test_impossible_streams_are_refused(bundle_path, changes, message):
    with pytest.raises(InputError, match=message):
        spectrum(bundle_path, **changes)


def test_stream_writes_no_file(bundle_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spectrum(bundle_path, request=SampleRequest("qed_3gamma", n_events=500, seed=3))
    assert os.listdir(tmp_path) == []


def test_example_of_the_guide_runs(bundle_path, tmp_path):
    page = Path(__file__).parents[2] / "docs" / "streaming.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    shutil.copytree(bundle_path, tmp_path / "run" / "bundles" / "photons")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 1000

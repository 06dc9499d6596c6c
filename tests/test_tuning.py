"""Tuning finds better options by the expected limit, keeps its study, and goes on where it stopped."""

import csv
import json

import numpy as np
import pytest
import yaml

from darksieve.config import SpaceConfig
from darksieve.config_loading import validate
from darksieve.errors import InputError
from darksieve.models.estimator import parse_options
from darksieve.workflow.search_space import DEFAULT_SPACES, SearchSpace
from darksieve.workflow.tuning import tune_classifier
from darksieve.workflow.tuning_report import tuning_tables

CONFIG = """
search: tuned
luminosity_fb: 10
samples:
  background: {role: background, files: [background.root], luminosity_fb: 5}
  signal:     {role: signal, files: [signal.root], mass: genM, n_generated: 6000, mass_range: [1.0, 3.0]}
classifiers:
  - {name: shape, model: bdt, features: [x, y], folds: 2,
     options: {n_trees: 2, max_depth: 1, learning_rate: 0.05}}
scan: {observable: M, range: [1.5, 2.5], step_sigma: 2, vetoes: [[1.95, 2.05]]}
tuning: {trials: 3, space: {n_trees: {low: 2, high: 60}, max_depth: {choices: [1, 4]}}}
tracking: {enabled: false}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    import uproot

    folder = tmp_path_factory.mktemp("tuning")
    rng = np.random.default_rng(0)
    for name, n, first, shift in (("background", 6000, 1, 0.0), ("signal", 6000, 10_000, 1.0)):
        gen = rng.uniform(1, 3, n)
        columns = {
            "__event__": (first + np.arange(n)).astype(np.uint32),
            "M": gen + rng.normal(0, 0.02, n),
            "x": rng.normal(shift, 1, n),
            "y": rng.normal(shift, 1, n),
            **({"genM": gen} if shift else {}),
        }
        with uproot.recreate(folder / f"{name}.root") as file:
            file.mktree("ntuple", {key: values.dtype for key, values in columns.items()})
            file["ntuple"].extend(columns)
    tree = yaml.safe_load(CONFIG)
    for sample in tree["samples"].values():
        sample["files"] = [str(folder / sample["files"][0])]
    return tree


def test_tuning_improves_on_the_first_trial_and_goes_on_where_it_stopped(config, tmp_path, monkeypatch):
    monkeypatch.setenv("DARKSIEVE_CACHE", str(tmp_path / "cache"))
    first = tune_classifier(validate(config), tmp_path / "run", n_trials=2)
    assert first["first"]["options"] == {"n_trees": 2, "max_depth": 1}
    second = tune_classifier(validate(config), tmp_path / "run", n_trials=6)
    assert second["trials"][:2] == first["trials"]
    assert len(second["trials"]) == 6
    best = second["best"]
    assert best["mean_log_limit"] < second["first"]["mean_log_limit"]
    assert best["options"]["n_trees"] > 2
    assert 0 < second["limit_lower_by_percent"] < 100
    written = json.loads((tmp_path / "run" / "tuning" / "shape.json").read_text())
    assert written == second
    with open(tmp_path / "run" / "tuning" / "shape.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == list(range(6))
    (table,) = tuning_tables(tmp_path / "run")
    assert table.rows[0][0] == best["trial"]
    # nothing is left to do: nothing is done
    assert tune_classifier(validate(config), tmp_path / "run", n_trials=6) == second


def test_a_trial_that_was_killed_is_done_again(config, tmp_path, monkeypatch):
    from darksieve.workflow import tuning

    monkeypatch.setenv("DARKSIEVE_CACHE", str(tmp_path / "cache"))
    whole = tuning._trial

    def killed(problem, events, trial):
        problem.space.suggest(trial)
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "_trial", killed)
    with pytest.raises(KeyboardInterrupt):
        tune_classifier(validate(config), tmp_path / "run", n_trials=2)
    monkeypatch.setattr(tuning, "_trial", whole)
    document = tune_classifier(validate(config), tmp_path / "run", n_trials=2)
    assert len(document["trials"]) == 2
    assert document["first"]["options"] == {"n_trees": 2, "max_depth": 1}


def test_changed_data_or_space_begin_a_study_of_their_own(config, tmp_path, monkeypatch):
    monkeypatch.setenv("DARKSIEVE_CACHE", str(tmp_path / "cache"))
    one = tune_classifier(validate(config), tmp_path / "run", n_trials=1)
    changed = config | {"tuning": {"space": {"n_trees": {"low": 2, "high": 9}}}}
    other = tune_classifier(validate(changed), tmp_path / "run", n_trials=1)
    assert one["study"] != other["study"]
    assert [trial["trial"] for trial in other["trials"]] == [0]


@pytest.mark.slow
def test_two_processes_share_a_study_and_its_child_runs(config, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("DARKSIEVE_CACHE", str(tmp_path / "cache"))
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracked = config | {"tracking": {"uri": uri}}
    tune_classifier(validate(tracked), tmp_path / "run", n_trials=1)
    left = tmp_path / "run" / "tuning" / "events-of-a-killed-one"
    left.mkdir()
    document = tune_classifier(validate(tracked), tmp_path / "run", workers=2, n_trials=4)
    assert len(document["trials"]) == 4
    assert not list(left.parent.glob("events-*"))
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("tuned")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(children) == 4
    assert {run.data.params["n_trees"] for run in children} == {
        str(trial["options"]["n_trees"]) for trial in document["trials"]
    }


@pytest.mark.parametrize("model", DEFAULT_SPACES)
def test_default_spaces_hold_the_default_options(model):
    options = parse_options(model)
    space = SearchSpace(model, {}, options)
    assert set(space.start) == set(DEFAULT_SPACES[model])
    assert space.with_values(space.start) == options


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"depth": {"low": 1, "high": 2}}, r"tuning\.space\.depth: bdt has no such option"),
        ({"max_depth": {"low": 1, "high": 99}}, r"tuning\.space\.max_depth.*depth from 1 to 20"),
    ],
)
def test_spaces_of_what_is_no_option_are_refused(space, message):
    given = {name: SpaceConfig(**values) for name, values in space.items()}
    with pytest.raises(InputError, match=message):
        SearchSpace("bdt", given, parse_options("bdt"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"low": 1.0}, "low and high"),
        ({"low": 2.0, "high": 1.0}, "smaller"),
        ({"low": 0.0, "high": 1.0, "log": True}, "above 0"),
        ({"low": 1.0, "high": 2.0, "choices": [1, 2]}, "either choices"),
    ],
)
def test_ranges_that_are_none_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SpaceConfig(**wrong)


def test_a_classifier_that_is_not_there_is_named(config, tmp_path):
    with pytest.raises(
        InputError, match=r"tuning\.classifier: 'shapes' is none of \['shape'\]; did you mean"
    ):
        tune_classifier(validate(config | {"tuning": {"classifier": "shapes"}}), tmp_path / "run")

"""MLflow holds the run, and a server that fails never costs a result."""

import logging

import pytest

from darksieve.tracking import Tracker


@pytest.fixture
def uri(tmp_path):
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_parameters_metrics_datasets_and_files_reach_the_run(uri, tmp_path):
    import mlflow

    (tmp_path / "limits.json").write_text("{}")
    tracker = Tracker("search", run_name="r", uri=uri)
    tracker.parameters({"scan": {"range": [1, 2]}, "seed": 1})
    tracker.metrics({"loss": 0.5}, step=3)
    tracker.dataset("qed", "ab" * 32, 100, "training")
    tracker.artifacts(tmp_path / "limits.json")
    tracker.end()
    client = mlflow.MlflowClient(tracking_uri=uri)
    run = client.get_run(tracker.run_id)
    assert run.data.params == {"scan.range": "[1, 2]", "seed": "1"}
    assert run.data.metrics == {"loss": 0.5}
    assert run.info.status == "FINISHED"
    assert [d.dataset.name for d in run.inputs.dataset_inputs] == ["qed"]
    assert [a.path for a in client.list_artifacts(tracker.run_id)] == ["limits.json"]


def test_a_resumed_run_goes_on_in_the_same_mlflow_run(uri):
    first = Tracker("search", run_name="r", uri=uri)
    first.parameters({"seed": 1})
    first.end("KILLED")
    second = Tracker("search", run_name="r", uri=uri, run_id=first.run_id)
    second.parameters({"seed": 2})
    second.end()
    assert second.run_id == first.run_id
    assert second.active


def test_a_server_that_is_not_there_costs_a_warning_and_nothing_else(caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with caplog.at_level(logging.WARNING):
        tracker = Tracker("search", run_name="r", uri="http://127.0.0.1:9")
        tracker.metrics({"loss": 0.5})
        tracker.end()
    assert not tracker.active
    assert "MLflow tracking stopped" in caplog.text


def test_tracking_can_be_switched_off(uri, tmp_path):
    tracker = Tracker("search", run_name="r", uri=uri, enabled=False)
    tracker.metrics({"loss": 1.0})
    tracker.end()
    assert not (tmp_path / "mlflow.db").exists()


def test_a_relative_database_is_taken_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "limits.json").write_text("{}")
    tracker = Tracker("search", run_name="r", uri="sqlite:///mlflow.db")
    tracker.artifacts(tmp_path / "limits.json")
    assert tracker.active
    assert list((tmp_path / "mlruns").rglob("limits.json"))

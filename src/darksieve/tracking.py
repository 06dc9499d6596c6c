"""MLflow tracking: one run holds config, digests, metrics, models, pictures. It never costs a result."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_PARAMETER_LENGTH = 500  # MLflow's limit on the length of a parameter's value


class Tracker:
    """Writes to one MLflow run; the first failure is logged as a warning and ends the tracking, not the work.

    Args:
        experiment: Name of the MLflow experiment: the search.
        uri: Tracking URI; by default ``MLFLOW_TRACKING_URI``, else ``mlflow.db`` in the current folder.
        run_id: An existing run to continue.
        run_name: Name of a new run.
        enabled: False turns every call into nothing.
        parent: The run that a new run is a child of.
    """

    def __init__(
        self,
        experiment: str,
        *,
        run_name: str,
        uri: str | None = None,
        run_id: str | None = None,
        enabled: bool = True,
        parent: str | None = None,
    ) -> None:
        self.run_id = run_id
        self.parent = parent
        self.uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"
        self._client: Any = None
        if enabled:
            self._attempt("start", lambda: self._start(experiment, run_name))

    @property
    def active(self) -> bool:
        """Whether calls still reach MLflow."""
        return self._client is not None

    def _start(self, experiment: str, run_name: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # no network beyond the user's own server
        # MLflow's own defaults keep a run waiting four minutes for a server that is not there.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.tracking.fluent"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        import mlflow
        from mlflow.exceptions import MlflowException

        client = mlflow.MlflowClient(tracking_uri=self.uri)
        known = client.get_experiment_by_name(experiment)
        if known is None:
            artifacts = None
            if self.uri.startswith("sqlite:///"):
                database = Path(self.uri.removeprefix("sqlite:///")).resolve()  # may be given as relative
                artifacts = (database.parent / "mlruns" / experiment).as_uri()
            experiment_id = client.create_experiment(experiment, artifact_location=artifacts)
        else:
            experiment_id = known.experiment_id
        if self.run_id is not None:
            try:
                client.get_run(self.run_id)
                client.update_run(self.run_id, status="RUNNING")
            except MlflowException:
                log.warning("MLflow run %s is not at %s: a new run is begun", self.run_id, self.uri)
                self.run_id = None
        if self.run_id is None:
            tags = {} if self.parent is None else {"mlflow.parentRunId": self.parent}
            self.run_id = client.create_run(experiment_id, run_name=run_name, tags=tags).info.run_id
        self._client = client

    def _attempt(self, what: str, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # whatever a tracking server does, the physics result must survive it
            log.warning("MLflow tracking stopped at %r: %s", what, error)
            self._client = None

    def _do(self, what: str, action: Callable[[Any, str], Any]) -> None:
        if self._client is not None and self.run_id is not None:
            client, run_id = self._client, self.run_id
            self._attempt(what, lambda: action(client, run_id))

    def parameters(self, tree: Mapping[str, Any]) -> None:
        """Log a nested mapping as dotted parameters; values that a resumed run changed are kept as tags."""

        def write(client: Any, run_id: str) -> None:
            known = client.get_run(run_id).data.params
            for name, value in _flattened(tree):
                text = str(value)[:_PARAMETER_LENGTH]
                if name not in known:
                    client.log_param(run_id, name, text)
                elif known[name] != text:
                    client.set_tag(run_id, f"changed.{name}", text)

        self._do("parameters", write)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers, at a step (epoch) where they have one; all in one call."""

        def write(client: Any, run_id: str) -> None:
            import time

            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            client.log_batch(run_id, metrics=[Metric(k, float(v), now, step) for k, v in values.items()])

        self._do("metrics", write)

    def dataset(self, name: str, digest: str, n_rows: int, role: str) -> None:
        """Log a sample as an MLflow dataset with the digest of its content."""

        def write(client: Any, run_id: str) -> None:
            import json

            from mlflow.entities import Dataset, DatasetInput, InputTag

            entry = Dataset(
                name=name,
                digest=digest[:36],  # MLflow's limit
                source_type="local",
                source=json.dumps({"sha256": digest}),
                profile=json.dumps({"num_rows": n_rows}),
            )
            client.log_inputs(run_id, datasets=[DatasetInput(entry, [InputTag("mlflow.data.context", role)])])

        self._do("dataset", write)

    def artifacts(self, path: str | Path, folder: str | None = None) -> None:
        """Log a file, or a folder with all it holds."""

        def write(client: Any, run_id: str) -> None:
            if Path(path).is_dir():
                client.log_artifacts(run_id, str(path), folder)
            else:
                client.log_artifact(run_id, str(path), folder)

        self._do("artifacts", write)

    def tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags of the run."""

        def write(client: Any, run_id: str) -> None:
            for name, value in tags.items():
                client.set_tag(run_id, name, value)

        self._do("tags", write)

    def end(self, status: str = "FINISHED") -> None:
        """Close the run with MLflow's word for how it ended: FINISHED, FAILED or KILLED."""
        self._do("end", lambda client, run_id: client.set_terminated(run_id, status))


def _flattened(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted names and leaf values of a nested mapping; lists are leaves."""
    out: list[tuple[str, Any]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            out.extend(_flattened(value, f"{name}."))
        else:
            out.append((name, value))
    return out

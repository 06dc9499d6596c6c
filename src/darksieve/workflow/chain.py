"""The chain: stage after stage, each skipped where it is done with the same inputs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from darksieve.atomic import write_text
from darksieve.config import SearchConfig
from darksieve.config_loading import to_yaml
from darksieve.progress import say
from darksieve.run_folder import RunFolder
from darksieve.tracking import Tracker
from darksieve.workflow.caching import open_cache
from darksieve.workflow.checks import WARNING, check_search
from darksieve.workflow.context import Context, facts_of_run
from darksieve.workflow.reading import Reading
from darksieve.workflow.samples import simulate_samples
from darksieve.workflow.scoring import Simulation, features_of, score_candidates, train_classifiers

STAGES = ("simulate", "train", "optimise", "scan", "report")

log = logging.getLogger("darksieve")


def limit_threads() -> None:
    """One thread per pool: the processes of a run must not multiply them. A user's own setting stays."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def run_chain(
    config: SearchConfig,
    output: Path,
    last_stage: str = "report",
    *,
    workers: int = 1,
    unblind: bool | None = False,
    then: Callable[[Context], None] | None = None,
) -> None:
    """Run a search up to a stage, into a folder that keeps everything.

    Args:
        config: The search.
        output: The run's folder; one of the same search is resumed, and what a change touches is redone.
        last_stage: One of ``STAGES``.
        workers: Processes for simulation and training; the numbers do not depend on it.
        unblind: Whether data (or pseudo-data) in the signal region are looked at; None as the run did before.
        then: Called with the run at the end, while its folder is held.

    Raises:
        InputError: If anything in the config, the files or the folder is wrong, before any long work.
    """
    limit_threads()
    checked = check_search(config)
    with RunFolder.open(output, config.search) as run:
        for line in checked:
            if line.startswith(WARNING):
                log.warning(line.removeprefix(WARNING))
            else:
                log.info(line)
        write_text(run / "config.yaml", to_yaml(config))
        tracker = Tracker(
            config.search,
            run_name=output.name,
            uri=config.tracking.uri,
            run_id=run.manifest.get("mlflow_run_id"),
            enabled=config.tracking.enabled,
        )
        if tracker.active:
            run.record(mlflow_run_id=tracker.run_id)
        tracker.parameters(config.model_dump(mode="json"))
        was_unblind = (run / "data.json").is_file() and not facts_of_run(run)["blind"]
        if was_unblind and unblind is False and last_stage in ("scan", "report"):
            say("this run was unblinded: its observed limits are removed; --unblind brings them back")
        looks = was_unblind if unblind is None else unblind
        context = Context(config, run, tracker, workers, looks, open_cache(config.cache))
        ended = "FAILED"
        try:
            _run_stages(context, STAGES.index(last_stage))
            if then is not None:
                then(context)
            ended = "FINISHED"
        except KeyboardInterrupt:
            ended = "KILLED"
            raise
        finally:
            tracker.artifacts(run / "config.yaml")
            if (run / "manifest.json").is_file():
                tracker.artifacts(run / "manifest.json")
            tracker.end(ended)


def _run_stages(context: Context, last: int) -> None:
    # the packages of a stage are imported when it is reached, so that a stage alone starts fast
    simulate_samples(context)
    if last < STAGES.index("train"):
        return
    features = tuple(
        f for classifier in context.config.classifiers for f in features_of(context.config, classifier)
    )
    from darksieve.workflow.controls import score_controls
    from darksieve.workflow.interpolating import close_interpolation
    from darksieve.workflow.understanding import understand_classifiers

    simulation = Simulation(context, Reading(context.config, features))
    train_classifiers(context, simulation)
    score_candidates(context, simulation)
    understand_classifiers(context, simulation)
    close_interpolation(context, simulation)
    simulation.forget()
    score_controls(context, simulation)
    if last < STAGES.index("optimise"):
        return
    from darksieve.workflow.optimising import choose

    choose(context)
    if last < STAGES.index("scan"):
        return
    from darksieve.workflow.scanning import scan

    scan(context, simulation)
    if last < STAGES.index("report"):
        return
    from darksieve.workflow.reporting import write_run_report

    write_run_report(context)
    say(f"report: {context.run / 'report.html'}")

"""The command line. Heavy packages are imported by the command that needs them, so that help is instant."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from darksieve import __version__
from darksieve.errors import InputError

app = typer.Typer(
    name="darksieve",
    help="From ntuples to limits: background suppression, working points and mass scans.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[
    str, typer.Argument(help="A YAML file, or the name of a packaged preset.", metavar="CONFIG")
]
Run = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="The run's folder; by default runs/SEARCH.", metavar="RUN"),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override one config key; may be repeated.", metavar="a.b=c")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.", min=0)]
Workers = Annotated[int, typer.Option("--workers", help="Processes; the numbers do not depend on it.", min=1)]
Unblind = Annotated[bool, typer.Option("--unblind", help="Look at the data in the signal region.")]


class Method(StrEnum):
    """How limits are computed."""

    AUTO = "auto"
    ASYMPTOTIC = "asymptotic"
    EXACT = "exact"
    TOYS = "toys"
    MARGINAL = "marginal"


class TestStatistic(StrEnum):
    """q lets the best fit be negative; q-tilde does not."""

    QTILDE = "qtilde"
    Q = "q"


class Bands(StrEnum):
    """−2 … +2 standard deviations, or the quantiles 2.5, 16, 50, 84 and 97.5 %."""

    SIGMA = "sigma"
    QUANTILE = "quantile"


class RowFormat(StrEnum):
    """How a file keeps its rows."""

    TTREE = "ttree"
    RNTUPLE = "rntuple"
    PARQUET = "parquet"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"darksieve {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    logging.getLogger("darksieve").setLevel(logging.INFO)


def _chain(
    last_stage: str,
    config: str,
    output: Path | None,
    overrides: list[str] | None,
    seed: int | None,
    workers: int,
    unblind: bool | None = False,
) -> None:
    from darksieve.config_loading import load_config
    from darksieve.workflow.chain import run_chain

    loaded = load_config(config, overrides or (), seed)
    run_chain(loaded, output or Path("runs") / loaded.search, last_stage, workers=workers, unblind=unblind)


@app.command()
def run(
    config: Config,
    output: Run = None,
    overrides: Set = None,
    seed: Seed = None,
    workers: Workers = 2,
    unblind: Unblind = False,
) -> None:
    """The whole chain, from ntuples to limits and a report; resumes where it stopped."""
    _chain("report", config, output, overrides, seed, workers, unblind)


@app.command()
def simulate(
    config: Config, output: Run = None, overrides: Set = None, seed: Seed = None, workers: Workers = 2
) -> None:
    """Generate the samples that the config simulates."""
    _chain("simulate", config, output, overrides, seed, workers)


@app.command()
def train(
    config: Config, output: Run = None, overrides: Set = None, seed: Seed = None, workers: Workers = 2
) -> None:
    """Train the classifiers and score every event out of fold."""
    _chain("train", config, output, overrides, seed, workers)


@app.command()
def tune(
    config: Config,
    output: Run = None,
    overrides: Set = None,
    seed: Seed = None,
    workers: Workers = 1,
    trials: Annotated[
        int | None, typer.Option(help="Trials in all, those of earlier calls included.", min=1)
    ] = None,
) -> None:
    """Vary a classifier's options, judged by the expected limit; resumes its study."""
    from darksieve.config_loading import load_config
    from darksieve.workflow.tuning import tune_classifier

    loaded = load_config(config, overrides or (), seed)
    tune_classifier(loaded, output or Path("runs") / loaded.search, workers=workers, n_trials=trials)


@app.command()
def optimise(
    config: Config, output: Run = None, overrides: Set = None, seed: Seed = None, workers: Workers = 2
) -> None:
    """Choose cuts or score categories by the expected limit."""
    _chain("optimise", config, output, overrides, seed, workers)


@app.command()
def scan(
    config: Config,
    output: Run = None,
    overrides: Set = None,
    seed: Seed = None,
    workers: Workers = 2,
    unblind: Unblind = False,
) -> None:
    """Scan the mass spectrum for limits: expected ones, and observed ones with --unblind."""
    _chain("scan", config, output, overrides, seed, workers, unblind)


@app.command()
def report(
    config: Config,
    output: Run = None,
    overrides: Set = None,
    seed: Seed = None,
    workers: Workers = 2,
    unblind: Unblind = False,
) -> None:
    """Draw the pictures and write the report, of a run as blind as it is unless --unblind is given."""
    _chain("report", config, output, overrides, seed, workers, unblind or None)


@app.command()
def candidates(
    config: Config,
    target: Annotated[Path, typer.Option("--to", help="A .root or .parquet file.", metavar="FILE")],
    output: Run = None,
    kind: Annotated[
        RowFormat | None, typer.Option("--format", help="By default that of the suffix, a TTree for .root.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    overrides: Set = None,
    seed: Seed = None,
    workers: Workers = 2,
) -> None:
    """Write the simulated candidates of a run with weights, folds and scores to one file."""
    from darksieve.config_loading import load_config
    from darksieve.workflow.candidates_file import write_candidates

    loaded = load_config(config, overrides or (), seed)
    run = output or Path("runs") / loaded.search
    asked = None if kind is None else kind.value
    write_candidates(loaded, run, target, format=asked, overwrite=overwrite, workers=workers)


@app.command()
def check(config: Config, overrides: Set = None) -> None:
    """Check config, files and branches before any event loop."""
    from darksieve.config_loading import load_config
    from darksieve.workflow.checks import check_search

    for line in check_search(load_config(config, overrides or ())):
        typer.echo(line)


@app.command()
def limits(
    documents: Annotated[
        list[Path], typer.Argument(help="Search documents, or a pyhf workspace with its patch sets.")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="JSON file to write; a CSV of the same name goes beside it."),
    ] = Path("limits.json"),
    confidence_level: Annotated[float, typer.Option("--cl", help="Confidence level.")] = 0.95,
    method: Annotated[Method, typer.Option(help="How limits are computed.")] = Method.AUTO,
    toys: Annotated[
        int, typer.Option(help="Toys for each hypothesis, where toys are used.", min=100)
    ] = 10000,
    cls_at: Annotated[
        float | None,
        typer.Option("--cls-at", help="Also give CLs at this value of the parameter.", metavar="MU"),
    ] = None,
    test_statistic: Annotated[
        TestStatistic, typer.Option("--test-statistic", help="Of the limits.")
    ] = TestStatistic.QTILDE,
    interpolation: Annotated[
        str | None, typer.Option(help="Of a workspace's modifiers, for example normsys=code1,histosys=code0.")
    ] = None,
    bands: Annotated[Bands, typer.Option(help="Levels of the expected band.")] = Bands.SIGMA,
    seed: Annotated[int, typer.Option(help="Seed of toys.", min=0)] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the points that the output file has, and do the others.")
    ] = False,
    pyhf: Annotated[
        Path | None,
        typer.Option("--pyhf", help="Also write the search documents as pyhf workspaces.", metavar="DIR"),
    ] = None,
) -> None:
    """The limit tool alone: documents in, limits out."""
    from darksieve.workflow.limit_command import limits_of_documents

    limits_of_documents(
        documents,
        output,
        confidence_level=confidence_level,
        method=method.value,
        n_toys=toys,
        cls_at=cls_at,
        test_statistic=test_statistic.value,
        interpolation=interpolation,
        bands=bands.value,
        seed=seed,
        resume=resume,
        pyhf=pyhf,
    )


@app.command()
def apply(
    bundle: Annotated[Path, typer.Argument(help="The folder of a bundle.", metavar="BUNDLE")],
    files: Annotated[list[Path], typer.Argument(help="ROOT or Parquet files.", metavar="FILE...")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="A .root or .parquet file, or a folder for several files."),
    ],
    tree: Annotated[str, typer.Option(help="The tree to score.")] = "ntuple",
    period: Annotated[
        str | None, typer.Option(help="Data-taking period of the files, where the search has several.")
    ] = None,
    kind: Annotated[
        RowFormat | None,
        typer.Option("--format", help="Of the output; by default that of its suffix, or of each file."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Add scores to files of candidates, streaming."""
    from darksieve.inference import apply_bundle

    asked = None if kind is None else kind.value
    apply_bundle(bundle, files, output, tree=tree, period=period, format=asked, overwrite=overwrite)


cache = typer.Typer(name="cache", help="What was read or simulated before.", no_args_is_help=True)
app.add_typer(cache)

CacheFolder = Annotated[
    Path | None,
    typer.Option("--folder", help="The cache; by default DARKSIEVE_CACHE or the user's.", metavar="DIR"),
]


@cache.command()
def show(folder: CacheFolder = None) -> None:
    """List the entries of the cache: size, last use, and which sample."""
    from darksieve.workflow.caching import describe_cache

    for line in describe_cache(folder):
        typer.echo(line)


@cache.command()
def clear(folder: CacheFolder = None) -> None:
    """Remove every entry of the cache that is not in use."""
    from darksieve.workflow.caching import clear_cache

    typer.echo(clear_cache(folder))


class Target(StrEnum):
    """What a bundle can be exported to."""

    ONNX = "onnx"


@app.command()
def export(
    bundle: Annotated[Path, typer.Argument(help="The folder of a bundle.", metavar="BUNDLE")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.", metavar="DIR")],
    to: Annotated[Target, typer.Option("--to", help="What to make of it.")] = Target.ONNX,
) -> None:
    """Export a bundle's networks, and compare the result with them on events of the training."""
    from darksieve.models.bundle import Bundle
    from darksieve.models.export import export_onnx

    loaded = Bundle.load(bundle)
    parity = export_onnx(loaded, output)
    typer.echo(
        f"{output}: {loaded.n_folds} graphs ({to.value}); on {parity.n_rows} events no probability differs by"
        f" more than {parity.largest_difference:.1g}"
    )


def main() -> None:
    """Entry point: 0 done, 1 the work failed, 2 the input is wrong; one message on standard error."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]  # at any place of the line
    debug = len(arguments) < len(sys.argv) - 1
    warnings = logging.StreamHandler()  # the log of a run has them too, but nobody watches it
    warnings.setLevel(logging.WARNING)
    warnings.setFormatter(logging.Formatter("darksieve: warning: %(message)s"))
    logging.getLogger("darksieve").addHandler(warnings)
    try:
        app(args=arguments, standalone_mode=True)
    except InputError as error:
        if debug:
            raise
        print(f"darksieve: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("darksieve: interrupted; what is done is kept, the same command resumes", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        if debug:
            raise
        print(f"darksieve: failed: {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        logging.getLogger("darksieve").removeHandler(warnings)

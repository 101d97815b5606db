"""``volseg VERB``: the frame. Verbs live in a file each and import nothing heavy before they run."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any

import typer

from volseg import __version__
from volseg.cli import (
    cardiac,
    check,
    console,
    demo,
    doctor,
    evaluate,
    fingerprint,
    keys,
    phantom,
    plan,
    predict,
    report,
    sweep,
    train,
)
from volseg.cli.bundle import bundle_app
from volseg.cli.verb import Group, add_verb, name_values
from volseg.errors import MemoryLimitError, RecipeError, UsageError, VolsegError

# Typer brings its own copy of click or uses click's, by version: this is the class of every misuse in either
_MISUSED: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    name="volseg",
    cls=Group,
    help="Volumetric segmentation with the U-Net family: train, segment folders of scans, measure, share.",
    epilog="Examples:\nvolseg demo -o demo/\nvolseg plan data/ -o mine.yaml --budget 30min\n"
    "volseg train -r mine.yaml -d data/ -o run/\nvolseg predict -i scans/ -o masks/ -b run/bundle\n\n"
    "The help of each verb has more; -v and -q stand before the verb; --install-completion completes verbs and options "
    "in your shell.\nResearch use only: volseg is not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.result(version_line())
        raise typer.Exit


@app.callback()
@name_values
def frame(
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more on the way.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say only what may be wrong.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and what it stands on."
        ),
    ] = False,
) -> None:
    """Take the options that stand before the verb."""
    if verbose and quiet:
        raise UsageError("-v and -q contradict each other")
    console.settings.level = (
        console.Level.VERBOSE if verbose else console.Level.QUIET if quiet else console.Level.NORMAL
    )
    console.settings.debug = debug


add_verb(app, doctor.doctor)
add_verb(app, demo.demo)
add_verb(app, phantom.phantom)
add_verb(app, check.check)
add_verb(app, fingerprint.fingerprint)
add_verb(app, plan.plan)
add_verb(app, keys.keys)
add_verb(app, train.train)
add_verb(app, sweep.sweep)
add_verb(app, predict.predict)
add_verb(app, evaluate.evaluate)
add_verb(app, cardiac.cardiac)
add_verb(app, report.report)
app.add_typer(bundle_app)


def version_line() -> str:
    """The version with its build: the commit, the interpreter and the packages whose versions change results."""
    from importlib.metadata import PackageNotFoundError, version
    from platform import python_version

    from volseg.cli.build import build

    commit = build()
    built = ([] if commit is None else [f"build {commit}"]) + [f"python {python_version()}"]
    for package in ("torch", "monai"):
        try:
            built.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            built.append(f"{package} absent")
    return f"volseg {__version__} ({', '.join(built)})"


def main() -> None:
    """Run the command line; what a user did wrong is a line, not a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a letter that the terminal does not know is escaped, as on stderr
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(app(prog_name="volseg", standalone_mode=False))
    except _MISUSED as error:
        said = error.format_message()
        if said:  # nothing is left to say where the help was shown in place of a verb
            path = getattr(getattr(error, "ctx", None), "command_path", "volseg")
            console.fail(UsageError(said.rstrip("."), mend=f"{path} -h shows what there is"))
        sys.exit(console.USAGE)
    except (UsageError, RecipeError) as error:
        console.fail(error)
        sys.exit(console.USAGE)
    except VolsegError as error:
        console.fail(error)
        sys.exit(console.FAILED)
    except MemoryError as error:
        console.fail(MemoryLimitError(f"does not fit into memory ({str(error) or 'there is no more'})"))
        sys.exit(console.FAILED)
    except BrokenPipeError:
        # the reader of our output went away (`volseg … | head`): nothing is wrong, and there is nobody to tell
        sys.stdout = None
        sys.exit(console.FAILED)

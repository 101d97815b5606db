"""The first step of every run through MONAI's own runner: what it would let pass silently is told in a line.

MONAI takes a setting that nothing reads, resolves relative paths against the working directory, and does not look at
``required_packages_version``; what fails ends in a hundred lines with the cause in the middle.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS

from volseg.bundle.ensemble import member_names
from volseg.bundle.rendering.configs import RUN_TIME, config_named
from volseg.bundle.rendering.packages import require_packages
from volseg.bundle.rendering.settings import changes_of, said
from volseg.errors import BundleError, UsageError, VolsegError, nearest
from volseg.recipe import Recipe, load_recipe

_META = ConfigParser.meta_key
# what a run does is whoever's who runs it
_STEPS = {"initialize", "run", "finalize", "training", "evaluating", "inference", "imports", _META}
# ``--tracking mlflow`` is MONAI's, and brings these
_TRACKING = {"tracking_uri", "experiment_name", "run_name", "save_execute_config", "is_not_rank0"}


def begin(config: str, bundle_root: str, metadata: Mapping[str, Any] | None = None) -> Recipe:
    """Judge packages, paths and settings; data are not looked at.

    Args:
        config: the configuration's name, such as ``train``.
        bundle_root: the bundle's folder.
        metadata: what the bundle says of itself.

    Returns:
        The recipe, with what this run changes of it.

    Raises:
        BundleError: if a package is missing, or the folder is no bundle.
        UsageError: if a setting is none.
    """
    tell_in_a_line()
    require_packages(metadata or {})
    parser, workflow = _running()
    root = _root(bundle_root, workflow)
    recipe = load_recipe(root / "configs" / "recipe.yaml")
    if parser is None:
        return recipe
    # absolute from here on, whatever the working directory; ids that stand on it are resolved after this step
    parser.ref_resolver.resolved_content["bundle_root"] = str(root)
    members = len(member_names(f"models/{path.name}" for path in (root / "models").glob("*")))
    return effective_recipe(recipe, parser.get(), config, members)


def _root(given: str, workflow: ConfigWorkflow | None) -> Path:
    """The bundle's folder: what was given, or where the configuration lies if nothing was."""
    root = Path(given).absolute()
    meant: Path | None = None
    if workflow is not None and workflow.config_root_path.name == "configs":
        meant = Path(workflow.config_root_path).absolute().parent
        if given == ".":
            return meant
    if not (root / "configs" / "recipe.yaml").is_file():
        raise BundleError("is no bundle (no configs/recipe.yaml)", where=root, mend="add --bundle_root FOLDER")
    if meant is not None and meant.resolve() != root.resolve():
        raise UsageError(
            f"the configuration is of {meant}, and bundle_root is {root}", mend=f"add --bundle_root {meant}"
        )
    return root


def effective_recipe(recipe: Recipe, given: Mapping[str, Any], config: str, members: int = 0) -> Recipe:
    """The recipe with what a configuration changes of it; every setting must be one.

    Raises:
        UsageError: naming the setting that is none, or that only the recipe can change.
        RecipeError: if a value does not fit.
    """
    training = config.endswith("train")
    known = _settled(config_named(recipe, config, members))
    if not training:
        _require_known(given, known)
        return recipe
    _require_known({name: value for name, value in given.items() if name != "network_def"}, known)
    changes = changes_of(given, recipe)
    changed = recipe.changed(changes, where="settings") if changes else recipe
    wanted = _settled(config_named(changed, config))
    _require_known(given, wanted)
    for name in wanted:
        if name in RUN_TIME or name in _STEPS:
            continue
        if name not in given:
            continue
        different = _difference(given[name], wanted[name], name)
        if different is not None and different != "train#trainer#max_epochs":
            raise UsageError(
                f"{different} is not what the recipe gives, and a training is what its recipe says",
                mend="change configs/recipe.yaml and build the bundle anew, or change one of the settings "
                "at the top of the configuration",
            )
    return changed


def tell_in_a_line() -> None:
    """From now on a user's mistake that ends ``python -m monai.bundle`` is told in a line.

    Programs that run bundles themselves get exceptions as ever.
    """
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is None or spec.name != "monai.bundle.__main__" or getattr(sys.excepthook, "of_volseg", False):
        return
    before = sys.excepthook

    def told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        known = cause_of(error)
        if known is None:
            before(kind, error, trace)
        else:
            sys.stderr.write(f"error: {known}\n")

    told.of_volseg = True  # type: ignore[attr-defined]
    sys.excepthook = told


def cause_of(error: BaseException | None) -> VolsegError | None:
    """The user's mistake among an error's causes: MONAI wraps what its parts raise.

    >>> try:
    ...     raise RuntimeError("failed to instantiate") from UsageError("no data are named")
    ... except RuntimeError as error:
    ...     print(cause_of(error))
    no data are named
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, VolsegError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _running() -> tuple[ConfigParser | None, ConfigWorkflow | None]:
    """The parser, and the workflow, that this call comes from.

    MONAI hands neither to the components it makes, and only the parser knows which settings it was given.
    """
    parser: ConfigParser | None = None
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if parser is None and isinstance(owner, ConfigParser):
            parser = owner
        if isinstance(owner, ConfigWorkflow):
            return owner.parser, owner
        frame = frame.f_back
    return parser, None


def _settled(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as MONAI's parser has it: run ids are copies of ``run``."""
    return {name: config[value[1:]] if _is_macro(value) else value for name, value in config.items()}


def _is_macro(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("%") and "." not in value


def _require_known(given: Any, known: Any, at: str = "") -> None:
    """Raise for the first setting that a configuration does not have; arguments that a part takes are settings."""
    if not isinstance(given, Mapping) or not isinstance(known, Mapping):
        return
    if given.get("_target_") != known.get("_target_"):
        return  # another part altogether: its arguments are its own
    if not at and given.get("_target_") is None:
        extra: set[str] = _STEPS | _TRACKING | set(DEFAULT_MLFLOW_SETTINGS["configs"])
    else:
        extra = _arguments(known.get("_target_"))
    for name, value in given.items():
        path = f"{at}#{name}" if at else str(name)
        if name in known:
            _require_known(value, known[name], path)
        elif name not in extra:
            everywhere = [*known, *extra]
            near = nearest(str(name), [str(key) for key in everywhere])
            raise UsageError(
                f"--{path}: there is no such setting",
                mend=f"did you mean --{path[: len(path) - len(str(name))]}{near}?"
                if near
                else f"there are {_listed(key for key in known if not str(key).startswith('_'))}",
            )


def _arguments(target: Any) -> set[str]:
    """The arguments that a part of a configuration takes beside those that are written."""
    reserved = {"_disabled_", "_requires_", "_desc_", "_mode_"}
    if not isinstance(target, str):
        return set()
    from pydoc import locate

    found = locate(target) or locate(f"monai.engines.{target}") or locate(f"monai.inferers.{target}")
    try:
        return reserved | set(inspect.signature(found).parameters)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return reserved


def _difference(given: Any, wanted: Any, at: str) -> str | None:
    """The first id where two configurations differ."""
    if isinstance(given, Mapping) and isinstance(wanted, Mapping):
        for name in [*wanted, *(name for name in given if name not in wanted)]:
            if name not in given or name not in wanted:
                return f"{at}#{name}"
            found = _difference(given[name], wanted[name], f"{at}#{name}")
            if found is not None:
                return found
        return None
    if isinstance(given, list) and isinstance(wanted, list) and len(given) == len(wanted):
        pairs = enumerate(zip(given, wanted, strict=True))
        return next((d for i, (g, w) in pairs if (d := _difference(g, w, f"{at}#{i}")) is not None), None)
    given = said(given)
    return None if (type(given) is type(wanted) and given == wanted) or _equal_numbers(given, wanted) else at


def _equal_numbers(given: Any, wanted: Any) -> bool:
    numbers = (int, float)
    return type(given) in numbers and type(wanted) in numbers and given == wanted


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(map(str, names))

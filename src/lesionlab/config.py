"""Configuration that fails early: an experiment or a parameter that does not exist is refused with the nearest name.

The loader also gives the catalog two globals: ``workspace``, the folder the experiment's data lives in, and
``results``, the same folder or, where subjects are split into folds, the fold's own folder within it.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from click import ClickException
from kedro.config import OmegaConfigLoader
from pydantic import ValidationError

from lesionlab.cohort.splits import FOLD_PROTOCOLS
from lesionlab.parameters import Parameters, known_names, merged

_DEFAULT_ENVIRONMENTS = ("base", "local")
_DATA = "data"


class ConfigurationError(ClickException):
    """A configuration nothing can run with; the command line shows the message alone and ends with 1.

    Not Kedro's own ``KedroCliError``: with click 8.5 that prints "NoneType: None" in place of its message.
    """


class ExperimentConfigLoader(OmegaConfigLoader):
    """OmegaConf loader that holds every parameter against :class:`lesionlab.parameters.Parameters`."""

    def __init__(self, conf_source: str, env: str | None = None, *args: Any, **kwargs: Any) -> None:
        _check_environment(Path(conf_source), env)
        super().__init__(conf_source, env, *args, **kwargs)
        self["globals"] = {**self._globals, **self._folders()}

    def __getitem__(self, key: str) -> Any:
        """Configuration by kind; ``parameters`` are validated, with the command line's values merged in."""
        config = super().__getitem__(key)
        if key == "parameters":
            validate_parameters(merged(config, self.runtime_params or {}))
        return config

    def _folders(self) -> dict[str, str]:
        parameters = merged(super().__getitem__("parameters"), self.runtime_params or {})
        name = parameters.get("workspace") or self.env
        workspace = _DATA if name in (None, *_DEFAULT_ENVIRONMENTS) else f"{_DATA}/experiments/{name}"
        splits = parameters.get("splits") or {}
        folds = splits.get("protocol") in FOLD_PROTOCOLS
        return {"workspace": workspace, "results": f"{workspace}/fold{splits.get('fold', 0)}" if folds else workspace}


def validate_parameters(values: dict[str, Any]) -> Parameters:
    """The typed parameters; raises ``ConfigurationError`` naming each fault and an unknown name's nearest one."""
    try:
        return Parameters.model_validate(values)
    except ValidationError as error:
        faults = "\n".join(f"  - {_explain(fault)}" for fault in error.errors())
        raise ConfigurationError(f"The parameters cannot be used:\n{faults}\nCure: mend --params or conf/.") from error


def _explain(fault: Any) -> str:
    path = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return f"{path} is not given. It is required"
    if not path:
        return str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] != "extra_forbidden":
        return f"{path} = {fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}"
    allowed = known_names(fault["loc"][:-1])
    return f"{path}: no such parameter. {nearest(str(fault['loc'][-1]), allowed)}"


def nearest(given: str, allowed: list[str]) -> str:
    """A sentence with the likeliest of the allowed names, or all of them."""
    close = difflib.get_close_matches(given, allowed, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Allowed: {', '.join(sorted(allowed))}"


def _check_environment(conf: Path, env: str | None) -> None:
    if env is None or (conf / env).is_dir():
        return
    known = sorted(folder.name for folder in conf.iterdir() if folder.is_dir())
    raise ConfigurationError(
        f"There is no experiment {env!r} under {conf.name}/. {nearest(env, known)} "
        f"(experiments: {', '.join(known)}). Cure: choose one with --env, or create {conf.name}/{env}/parameters.yml"
    )

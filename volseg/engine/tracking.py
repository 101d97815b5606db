"""Where a run is recorded beside its own folder: TensorBoard where it is installed, MLflow where it is asked for."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from volseg.engine.log import Event, Listener
from volseg.errors import MissingExtra, UsageError


def tensorboard(folder: Path) -> Listener | None:
    """A listener that writes ``tensorboard/`` in the run's folder, if the package is there."""
    return _TensorBoard(folder / "tensorboard") if find_spec("tensorboard") else None


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None

    def __call__(self, event: Event) -> None:
        if event["event"] == "resumed":
            self._open(purge=event["iteration"] + 1)
        if event["event"] == "epoch":
            for name, value in scalars(event).items():
                self._open().add_scalar(name, value, event["iteration"])
            self._open().flush()
        if event["event"] == "end" and self._writer is not None:
            self._writer.close()

    def _open(self, purge: int | None = None) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard.writer import SummaryWriter

            # what an interrupted run wrote after its last checkpoint is about to happen again
            self._writer = SummaryWriter(self.folder, purge_step=purge)
        return self._writer


class MLflow:
    """A listener that records a run with MLflow.

    Args:
        folder: the run's folder; without an address, everything goes to ``mlruns.db`` in it.
        uri: address of the tracking server.
        experiment: name of the experiment.
        parameters: what the run was started with.
    """

    def __init__(
        self,
        folder: Path,
        uri: str | None = None,
        experiment: str = "volseg",
        parameters: dict[str, Any] | None = None,
    ) -> None:
        if find_spec("mlflow") is None:
            raise MissingExtra.of("mlflow", extra="mlflow", purpose="recording runs with MLflow")
        import mlflow

        self._client = mlflow.MlflowClient(uri or f"sqlite:///{(folder / 'mlruns.db').resolve()}")
        known = self._client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else self._client.create_experiment(experiment)
        marker = folder / "mlflow_run.txt"
        if marker.exists():
            self._run = marker.read_text().strip()
        else:
            self._run = self._client.create_run(number, run_name=folder.name).info.run_id
            marker.write_text(self._run + "\n")
            for name, value in _flat(parameters or {}).items():
                self._client.log_param(self._run, name, str(value)[:500])

    def __call__(self, event: Event) -> None:
        if event["event"] == "epoch":
            for name, value in scalars(event).items():
                self._client.log_metric(self._run, name.replace(" ", "_"), value, step=event["iteration"])
        if event["event"] == "end":
            self._client.set_terminated(self._run)


def tracker(kind: str, folder: Path, **arguments: Any) -> Listener:
    """The listener that a recipe's ``tracking`` names."""
    if kind != "mlflow":
        raise UsageError(f"nothing records runs that is called {kind!r}", mend="mlflow is known")
    return MLflow(folder, **arguments)


def scalars(event: Event) -> dict[str, float]:
    """The numbers of an epoch.

    >>> scalars({"event": "epoch", "loss": 1.0, "lr": 0.1, "dice": None, "labels": {"liver": 0.5}})
    {'loss': 1.0, 'lr': 0.1, 'dice/liver': 0.5}
    """
    found = {name: event.get(name) for name in ("loss", "lr", "dice")}
    found |= {f"dice/{name}": value for name, value in event.get("labels", {}).items()}
    return {name: float(value) for name, value in found.items() if value is not None and value == value}


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat

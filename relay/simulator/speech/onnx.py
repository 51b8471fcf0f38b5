"""ONNX models, configured so that a hundred sessions can share two cores."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy.typing as npt
import onnxruntime

Tensor: TypeAlias = npt.NDArray[Any]


class OnnxModel:
    """A loaded model. It has no state between runs, so several threads may run it at once."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        # The calling thread does all the work. Otherwise each model has a thread pool that waits
        # actively, and with many sessions the pools compete for the cores.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs by name."""
        return dict(zip(self._outputs, self._session.run(None, inputs), strict=True))


def file_in(package: str, name: str) -> Path:
    """Return the path of a file in an installed package, without importing the package."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {package!r} is not installed", name=package)
    return Path(spec.submodule_search_locations[0], name)

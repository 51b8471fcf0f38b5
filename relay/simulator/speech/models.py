"""Loads the speech models. It imports numpy and more, so import it only where they are."""

from relay.simulator.senses import Senses
from relay.simulator.speech.hibari import HibariVoice
from relay.simulator.speech.moonshine import Moonshine
from relay.simulator.speech.silero import SileroVad, load_silero

_WARM_UP = "Hello, this is Zxqrvy."
"""The made-up name makes the voice load what it needs for words that it does not know."""


def load_models() -> Senses:
    """Load the models and use each once: a first run takes longer than those after it."""
    silero = load_silero()
    senses = Senses(
        new_vad=lambda: SileroVad(silero), recognizer=Moonshine(silero), voice=HibariVoice()
    )
    speech = b"".join(senses.voice.speak(_WARM_UP, voice="", speed=1.0))
    senses.recognizer.transcribe(speech)
    return senses

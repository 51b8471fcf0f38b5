"""Real speech engines: recognition, synthesis, delays, and many sessions at once."""

import json
import math
import os
import random
import re
import subprocess
import sys
import time
import tracemalloc
import wave
from array import array
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from paths import AUDIO

from relay.simulator.engines import SpeechEngines
from relay.simulator.speech import is_installed, load
from relay.simulator.speech.normalization import in_pieces, spell_out

TRANSCRIPTS: dict[str, str] = json.loads((AUDIO / "transcripts.json").read_text())
BYTES_PER_SECOND = 48_000
FRAME_BYTES = 960
SAYINGS = (
    "We are open every day, and the kitchen closes late in the evening.",
    "Would you like a table by the window? It is the nicest place we have.",
    "I heard you say that you would like to order a large pizza with mushrooms.",
    "I am only a local stand in, so please do not expect too much of me.",
)


@pytest.fixture(scope="module")
def engines() -> SpeechEngines:
    if not is_installed() and "RELAY_REQUIRE_SPEECH" not in os.environ:
        pytest.skip('needs the extra "speech": pip install ".[speech]"')
    return load()


def pcm(samples: Iterable[int]) -> bytes:
    return array("h", samples).tobytes()


def flatten(groups: Iterable[Iterable[int]]) -> Iterable[int]:
    return (number for group in groups for number in group)


def clip(name: str) -> bytes:
    """Return a recording at 24 kHz: of every two samples, three on the lines between them."""
    with wave.open(str(AUDIO / name)) as recording:
        assert recording.getparams()[:3] == (1, 2, 16_000)
        samples = array("h", recording.readframes(recording.getnframes()))
    neighbours = zip(samples[::2], samples[1::2], samples[2::2], strict=False)
    return pcm(flatten((a, (a + 2 * b) // 3, (2 * b + c) // 3) for a, b, c in neighbours))


def tone(hertz: float, seconds: float = 2.0) -> bytes:
    turn = 2 * math.pi * hertz / 24_000
    return pcm(round(9_000 * math.sin(turn * n)) for n in range(int(24_000 * seconds)))


def noise(seconds: float = 2.0) -> bytes:
    dice = random.Random(0)  # noqa: S311 - noise need not be secret
    return pcm(round(dice.gauss(0, 2_000)) for _ in range(int(24_000 * seconds)))


def silence(seconds: float) -> bytes:
    return bytes(int(seconds * BYTES_PER_SECOND))


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def errors(expected: list[str], recognized: list[str]) -> int:
    """Count the words to insert, to delete or to replace (Levenshtein)."""
    row = list(range(len(recognized) + 1))
    for i, word in enumerate(expected, 1):
        previous, row = row, [i]
        for j, other in enumerate(recognized, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (word != other)))
    return row[-1]


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    counted = [
        (errors(words(text), words(recognized)), len(words(text))) for text, recognized in pairs
    ]
    return sum(wrong for wrong, _ in counted) / sum(total for _, total in counted)


def frames(pcm16: bytes, size: int = FRAME_BYTES) -> list[bytes]:
    return [pcm16[start : start + size] for start in range(0, len(pcm16), size)]


def spoken(engines: SpeechEngines, text: str, voice: str = "marin", speed: float = 1.0) -> bytes:
    return b"".join(engines.synthesizer.synthesize(text, voice=voice, speed=speed))


def test_is_installed_imports_no_package() -> None:
    program = (
        "import sys; from relay.simulator.speech import is_installed; is_installed();"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'onnxruntime', 'hibari')))"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("That is 12.50 €.", "That is €12.50."),
        ("That is 12,50€ or 3 EUR.", "That is €12.50 or EUR3."),
        ("Of €1,250 and 10,5 nothing changes", "Of €1,250 and 10,5 nothing changes"),
        ("Open 11:00-22:00 and 8:30 \u2013 9:15", "Open 11:00 to 22:00 and 8:30 to 9:15"),
        ("Order 1234567 of 2026 for $12345678", "Order 1 2 3 4 5 6 7 of 2026 for $12345678"),
        ("No. 5 on Nov. 22. No.", "number 5 on Nov 22. No."),
        ("Pizza vs. Pasta, e.g. Lasagne", "Pizza versus Pasta, for example Lasagne"),
        ("See https://www.example.com, 24/7.", "See example.com, twenty-four seven."),
    ],
)
def test_text_that_hibari_misreads_is_spelled_out(written: str, read: str) -> None:
    assert spell_out(written) == read


def test_a_long_sentence_is_cut_at_its_pauses_and_the_first_piece_is_short() -> None:
    sentence = "We bake the bread, " * 20 + "and then we sell it."

    pieces = list(in_pieces([sentence, "Good."]))

    assert " ".join(pieces) == f"{sentence} Good."
    assert len(pieces[0]) <= 80
    assert all(len(piece) <= 200 for piece in pieces)
    assert all(piece.endswith((",", ".")) for piece in pieces)


@pytest.mark.parametrize("sentence", ["word " * 100, "x" * 450, "a\n" * 300, ""])
def test_a_sentence_without_pauses_is_cut_too_and_nothing_is_lost(sentence: str) -> None:
    pieces = list(in_pieces([sentence]))

    assert "".join("".join(pieces).split()) == "".join(sentence.split())
    assert all(len(piece) <= 200 for piece in pieces)


@pytest.mark.speech
@pytest.mark.usefixtures("engines")
@pytest.mark.parametrize(("hertz", "gain"), [(300, 1.0), (6_000, 1.0), (9_500, 0.0), (11_000, 0.0)])
def test_resampling_keeps_frequencies_below_8_khz_and_removes_others(
    hertz: float, gain: float
) -> None:
    from relay.simulator.speech.resampling import Resampler

    samples = Resampler().feed(tone(hertz, seconds=1.0))[100:]

    loudness = math.sqrt(sum(float(sample) ** 2 for sample in samples) / len(samples))
    assert len(samples) == pytest.approx(16_000 - 100, abs=20)
    assert loudness == pytest.approx(gain * 9_000 / 32_768 / math.sqrt(2), abs=0.003)


@pytest.mark.speech
@pytest.mark.usefixtures("engines")
@pytest.mark.parametrize("size", [1, 7, 960, 4_801])
def test_the_size_of_the_pieces_does_not_change_the_resampled_audio(size: int) -> None:
    from relay.simulator.speech.resampling import Resampler

    pcm16, resampler = clip("cards-001.wav")[:9_600], Resampler()

    pieces = [resampler.feed(piece).tolist() for piece in frames(pcm16, size)]

    assert list(flatten(pieces)) == pytest.approx(Resampler().feed(pcm16).tolist(), abs=1e-6)


@pytest.mark.speech
def test_speech_is_distinguished_from_silence(engines: SpeechEngines) -> None:
    vad = engines.new_vad()

    before = max(vad.feed(frame) for frame in frames(silence(0.5)))
    during = [vad.feed(frame) for frame in frames(clip("goforward.wav"))]
    after = [vad.feed(frame) for frame in frames(silence(0.5))][-1]

    assert before < 0.1
    assert sum(probability > 0.5 for probability in during) / len(during) > 0.4
    assert after < 0.1


@pytest.mark.speech
@pytest.mark.parametrize("sound", [noise(), tone(50), tone(440), silence(2)])
def test_noise_tones_and_silence_are_not_speech(engines: SpeechEngines, sound: bytes) -> None:
    vad = engines.new_vad()

    assert max(vad.feed(frame) for frame in frames(sound)) < 0.5
    assert engines.recognizer.transcribe(sound) == ""


@pytest.mark.speech
def test_sessions_have_independent_detectors(engines: SpeechEngines) -> None:
    speech, quiet = clip("cards-005.wav"), noise(3.0)
    alone, crowded, other = engines.new_vad(), engines.new_vad(), engines.new_vad()

    expected = [alone.feed(frame) for frame in frames(speech)]
    probabilities = []
    for frame, rustle in zip(frames(speech), frames(quiet) * 2, strict=False):
        probabilities.append(crowded.feed(frame))
        other.feed(rustle)

    assert probabilities == expected


@pytest.mark.speech
def test_a_hundred_sessions_share_one_model(engines: SpeechEngines) -> None:
    tracemalloc.start()
    try:
        vads = [engines.new_vad() for _ in range(100)]
        for vad in vads:
            vad.feed(silence(0.1))
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held_bytes < 100 * 8_192


@pytest.mark.speech
def test_human_speech_is_recognized(engines: SpeechEngines) -> None:
    pairs = [
        (text, engines.recognizer.transcribe(clip(name))) for name, text in TRANSCRIPTS.items()
    ]

    assert word_error_rate(pairs) < 0.15, pairs


@pytest.mark.speech
def test_silence_around_speech_does_not_change_the_transcript(engines: SpeechEngines) -> None:
    padded = silence(0.7) + clip("goforward.wav") + silence(1.5)

    assert words(engines.recognizer.transcribe(padded)) == words(TRANSCRIPTS["goforward.wav"])


@pytest.mark.speech
@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.25])
def test_very_short_speech_has_no_transcript(engines: SpeechEngines, seconds: float) -> None:
    speech = clip("goforward.wav")[BYTES_PER_SECOND:]

    assert engines.recognizer.transcribe(speech[: int(seconds * 24_000) * 2]) == ""


@pytest.mark.speech
def test_a_long_speech_is_recognized_to_its_end(engines: SpeechEngines) -> None:
    """The model takes half a minute at a time."""
    text = SAYINGS * 2
    speech = b"".join(spoken(engines, saying) for saying in text)
    assert len(speech) > 30 * BYTES_PER_SECOND

    recognized = engines.recognizer.transcribe(speech)

    assert word_error_rate([(" ".join(text), recognized)]) < 0.05, recognized


@pytest.mark.speech
@pytest.mark.usefixtures("engines")
def test_a_long_speech_is_cut_where_it_is_quiet() -> None:
    import numpy as np

    from relay.simulator.speech.moonshine import _pieces

    speech = np.ones(70 * 16_000, np.float32)
    speech[27 * 16_000 :][:1_600] = 0

    pieces = list(_pieces(speech))

    assert len(pieces[0]) == 27 * 16_000
    assert all(len(piece) <= 30 * 16_000 for piece in pieces)
    assert sum(map(len, pieces)) == len(speech)


@pytest.mark.speech
@pytest.mark.parametrize("voice", ["marin", "cedar", "shimmer", "no such voice"])
def test_synthesized_speech_is_recognized_as_written(engines: SpeechEngines, voice: str) -> None:
    pairs = [
        (text, engines.recognizer.transcribe(spoken(engines, text, voice))) for text in SAYINGS
    ]

    assert word_error_rate(pairs) < 0.05, pairs


@pytest.mark.speech
@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("The table is free at 8:30.", "The table is free at eight thirty."),
        ("It costs 12,50 €.", "It costs twelve euros and fifty cents."),
        ("It costs $7.", "It costs seven dollars."),
        ("He has **no** time.", "He has no time."),
        ("Hello there. 😀", "Hello there."),
    ],
)
def test_numbers_and_signs_are_read_correctly(
    engines: SpeechEngines, written: str, text: str
) -> None:
    assert spoken(engines, written) == spoken(engines, text)


@pytest.mark.speech
@pytest.mark.parametrize("text", ["", " \n ", "😀", "日本語", "--", "…"])
def test_a_text_without_sound_gives_a_short_silence(engines: SpeechEngines, text: str) -> None:
    speech = spoken(engines, text)

    assert 0.1 < len(speech) / BYTES_PER_SECOND < 0.5
    assert max(array("h", speech)) == 0


@pytest.mark.speech
def test_the_same_text_gives_the_same_audio(engines: SpeechEngines) -> None:
    assert spoken(engines, SAYINGS[0]) == spoken(engines, SAYINGS[0])


@pytest.mark.speech
def test_voices_differ_and_the_speed_is_applied(engines: SpeechEngines) -> None:
    usual, deep, fast = (
        spoken(engines, SAYINGS[0], voice, speed)
        for voice, speed in [("marin", 1.0), ("cedar", 1.0), ("marin", 1.5)]
    )

    assert usual != deep
    assert len(deep) == pytest.approx(len(usual), rel=0.15)
    assert len(fast) == pytest.approx(len(usual) / 1.5, rel=0.15)


@pytest.mark.speech
def test_speech_is_synthesized_by_sentence_and_starts_at_once(engines: SpeechEngines) -> None:
    pieces = list(engines.synthesizer.synthesize(" ".join(SAYINGS), voice="marin", speed=1.0))

    assert len(pieces) >= len(SAYINGS)
    assert all(any(abs(sample) > 150 for sample in array("h", piece[:4_800])) for piece in pieces)


@pytest.mark.speech
def test_an_answer_starts_within_300_ms_of_the_question(engines: SpeechEngines) -> None:
    """Measured in CPU time of this thread: on an idle machine it is the elapsed time."""
    question, answer = clip("goforward.wav"), " ".join(SAYINGS)
    began = time.thread_time()

    engines.recognizer.transcribe(question)
    next(engines.synthesizer.synthesize(answer, voice="cedar", speed=1.0))

    assert time.thread_time() - began < 0.3


@pytest.mark.speech
def test_the_models_compute_in_the_calling_thread_alone(engines: SpeechEngines) -> None:
    """With threads of their own, the models of many sessions would compete for the cores."""
    question = clip("cards-005.wav")
    process, thread = time.process_time(), time.thread_time()

    spoken(engines, engines.recognizer.transcribe(question))

    elsewhere = (time.process_time() - process) - (time.thread_time() - thread)
    assert elsewhere < 0.1 * (time.thread_time() - thread)


@pytest.mark.speech
def test_sessions_do_not_disturb_each_other(engines: SpeechEngines) -> None:
    def turn(name: str) -> tuple[str, bytes]:
        recognized = engines.recognizer.transcribe(clip(name))
        return recognized, spoken(engines, f"I heard {recognized}")

    names = list(TRANSCRIPTS)
    alone = [turn(name) for name in names]

    with ThreadPoolExecutor(len(names)) as threads:
        together = list(threads.map(turn, names * 2))

    assert together == alone * 2


@pytest.mark.speech
@pytest.mark.usefixtures("engines")
def test_loaded_engines_use_no_network_and_no_files() -> None:
    """Audit hooks see what Python opens; the models' own code has no downloads."""
    program = """
import sys
from relay.simulator.speech import load

def refuse(event, arguments):
    if event.startswith("socket.") or (loaded and event == "open"):
        raise AssertionError(event, arguments)

loaded = False
sys.addaudithook(refuse)
engines = load()
loaded = True
speech = b"".join(engines.synthesizer.synthesize("Hello Zyxwolf.", voice="alloy", speed=1.0))
assert engines.recognizer.transcribe(speech).startswith("Hello")
"""

    finished = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )

    assert finished.returncode == 0, finished.stderr


def test_a_token_may_be_longer_than_127_bytes(tmp_path: Path) -> None:
    moonshine = pytest.importorskip("relay.simulator.speech.moonshine", exc_type=ImportError)
    file = tmp_path / "tokenizer.bin"
    file.write_bytes(b"\x02ab" + bytes([128 + 200 % 128, 200 // 128]) + b"c" * 200)

    assert moonshine._read_vocabulary(file) == [b"ab", b"c" * 200]


def test_a_model_that_repeats_itself_is_stopped(
    engines: SpeechEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight tokens for a second of audio are the limit."""
    moonshine = pytest.importorskip("relay.simulator.speech.moonshine", exc_type=ImportError)
    monkeypatch.setattr(moonshine, "_STOP", -1)
    words = engines.recognizer.transcribe(clip("cards-001.wav"))

    assert len(words) > len(TRANSCRIPTS["cards-001.wav"])


def test_a_package_that_is_not_installed_is_named() -> None:
    onnx = pytest.importorskip("relay.simulator.speech.onnx", exc_type=ImportError)

    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        onnx.file_in("no_such_package", "model.ort")

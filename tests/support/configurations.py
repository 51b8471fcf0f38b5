"""A configuration with one persona, as the text of its files."""

from collections.abc import Callable

from relay.config.models import Config

SECRET = "sk-planted-s3cret"
ENVIRON = {
    "OPENAI_API_KEY": SECRET,
    "RELAY_CLIENT_KEY": "client-s3cret",
    "SPLIT_SECRET": "s3cret\n",
    "BAD_URL": "https://user:s3cret@host/v1",
}
RELAY = """\
server:
  host: 0.0.0.0
  port: 8080
upstreams:
  openai:
    api_key: ${OPENAI_API_KEY}
  local:
    provider: compatible
    url: ws://127.0.0.1:9000/v1/
default_persona: receptionist
personas: personas
clients:
  kiosk:
    key: ${RELAY_CLIENT_KEY}
    personas: [receptionist]
"""
PERSONA = """\
description: Front desk
upstream: [openai, local]
session:
  model: gpt-realtime-2.1
  instructions: Be brief.
  audio:
    output: {voice: marin}
  tools:
    - type: function
      name: opening_hours
limits:
  idle_seconds: 60
"""

PRICES = "[{model: gpt-realtime-*, from: 2020-01-01, usd_per_million: {output_text: 24}}]\n"

TRANSCRIBER = """\
upstream: local
session:
  type: transcription
  audio:
    input:
      transcription: {model: gpt-transcribe, prompt: A visit, keywords: [aspirin, cast]}
      turn_detection: null
client:
  session: [audio.input.turn_detection]
"""

Load = Callable[..., Config]
"""Loads a configuration from the text of relay.yaml and of a persona."""

ProblemsOf = Callable[..., list[str]]
"""Returns the problems of such a configuration."""


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)

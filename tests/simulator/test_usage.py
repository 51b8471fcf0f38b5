"""Tokens are counted by the rules of the API."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from simulated import BYTES_PER_SECOND, Client, simulated, tone

from relay.simulator.usage import audio_tokens, text_tokens, transcription_usage

TEXT_ONLY: dict[str, Any] = {"output_modalities": ["text"]}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with simulated() as upstream, upstream.connect() as connected:
        await connected.update(
            instructions="Be brief. " * 20, audio={"input": {"turn_detection": None}}
        )
        yield connected


async def _speak(client: Client, seconds: float) -> dict[str, Any]:
    await client.append(tone(seconds))
    await client.send("input_audio_buffer.commit")
    await client.send("response.create", response=TEXT_ONLY)
    return dict((await client.until("response.done"))["response"]["usage"])


def _consistent(usage: dict[str, Any]) -> bool:
    read, written = usage["input_token_details"], usage["output_token_details"]
    cached = read["cached_tokens_details"]
    kinds = ("text_tokens", "audio_tokens", "image_tokens")
    return (
        usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        and usage["input_tokens"] == sum(read[kind] for kind in kinds)
        and usage["output_tokens"] == written["text_tokens"] + written["audio_tokens"]
        and read["cached_tokens"] == sum(cached[kind] for kind in kinds)
        and all(0 <= cached[kind] <= read[kind] for kind in kinds)
    )


async def test_a_second_of_the_user_is_ten_tokens(client: Client) -> None:
    usage = await _speak(client, 2.5)

    assert usage["input_token_details"]["audio_tokens"] == 25
    assert _consistent(usage)


async def test_a_second_of_the_assistant_is_twenty_tokens(client: Client) -> None:
    response = await client.exchange("Hello")

    tokens = response["usage"]["output_token_details"]["audio_tokens"]
    assert tokens == pytest.approx(len(client.audio()) / BYTES_PER_SECOND * 20, abs=1)
    assert response["usage"]["output_token_details"]["text_tokens"] > 0


async def test_history_is_billed_again_and_its_unchanged_beginning_is_cached(
    client: Client,
) -> None:
    first = await _speak(client, 1)
    second = await _speak(client, 2)

    assert first["input_token_details"]["cached_tokens"] == 0
    read = second["input_token_details"]
    assert read["audio_tokens"] == 10 + 20
    assert read["cached_tokens_details"] == {
        "text_tokens": first["input_token_details"]["text_tokens"],
        "audio_tokens": 10,
        "image_tokens": 0,
    }
    assert read["text_tokens"] >= (
        first["input_token_details"]["text_tokens"] + first["output_token_details"]["text_tokens"]
    )
    assert _consistent(second)


async def test_other_instructions_invalidate_the_cache(client: Client) -> None:
    await client.exchange("Hello", **TEXT_ONLY)
    await client.update(instructions="Be long.")
    usage = (await client.exchange("Hello", **TEXT_ONLY))["usage"]

    assert usage["input_token_details"]["cached_tokens"] == 0


async def test_the_assistants_audio_is_input_of_the_next_response(client: Client) -> None:
    first = (await client.exchange("Hello"))["usage"]
    second = (await client.exchange("Hello", **TEXT_ONLY))["usage"]

    spoken = first["output_token_details"]["audio_tokens"]
    assert second["input_token_details"]["audio_tokens"] == spoken


async def test_truncated_audio_is_not_billed_again(client: Client) -> None:
    item_id = (await client.exchange("Hello"))["output"][0]["id"]
    await client.send(
        "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=500
    )
    usage = (await client.exchange("Hello", **TEXT_ONLY))["usage"]

    assert usage["input_token_details"]["audio_tokens"] == 10


async def test_a_response_out_of_band_has_usage_too(client: Client) -> None:
    usage = (await client.exchange("Hello", conversation="none", **TEXT_ONLY))["usage"]

    assert usage["input_tokens"] > 0
    assert _consistent(usage)


async def test_an_image_has_its_own_count(client: Client) -> None:
    content = [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]
    item = {"type": "message", "role": "user", "content": content}
    await client.send("conversation.item.create", item=item)
    usage = (await client.exchange("What is it?", **TEXT_ONLY))["usage"]

    assert usage["input_token_details"]["image_tokens"] > 0
    assert _consistent(usage)


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("four", 1), ("fours", 2)])
def test_text_has_a_token_for_each_four_bytes(text: str, tokens: int) -> None:
    assert text_tokens(text) == tokens


def test_a_token_of_audio_that_has_begun_counts() -> None:
    assert audio_tokens(0, per_second=10) == 0
    assert audio_tokens(1, per_second=10) == 1
    assert audio_tokens(BYTES_PER_SECOND, per_second=10) == 10
    assert audio_tokens(BYTES_PER_SECOND + 2, per_second=20) == 21


@pytest.mark.parametrize("model", ["whisper-1", "gpt-transcribe", "gpt-live-transcribe"])
def test_some_transcriptions_are_billed_by_duration(model: str) -> None:
    usage = transcription_usage(model, 3 * BYTES_PER_SECOND, "ten of clubs")

    assert usage == {"type": "duration", "seconds": 3.0}


def test_other_transcriptions_are_billed_by_tokens() -> None:
    usage = transcription_usage("gpt-4o-transcribe", 3 * BYTES_PER_SECOND, "ten of clubs")

    assert usage == {
        "type": "tokens",
        "total_tokens": 33,
        "input_tokens": 30,
        "output_tokens": 3,
        "input_token_details": {"text_tokens": 0, "audio_tokens": 30},
    }

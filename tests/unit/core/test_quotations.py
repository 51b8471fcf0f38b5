"""What an upstream quotes of a persona does not reach the log."""

from hypothesis import given
from hypothesis import strategies as st

from relay.core.quotations import MAX_DETAIL_CHARS, MAX_QUOTED_CHARS, MIN_QUOTED_CHARS, unquoted

TOOL = {"type": "function", "name": "opening_hours", "description": "When the clinic is open."}
SESSION = {
    "instructions": "You are the receptionist of the clinic.",
    "tools": [TOOL],
    "prompt": {"id": "pmpt_0123456789abcdef", "variables": ("of the guest",)},
    "audio": {"output": {"voice": "a voice of one's own"}},
}


def test_instructions_tools_and_prompts_are_masked_wherever_they_stand() -> None:
    said = "Bad: You are the receptionist of the clinic. When the clinic is open. of the guest!"

    assert unquoted(said, SESSION) == f"Bad: {'*' * 39} {'*' * 24} {'*' * 12}!"


def test_what_is_no_secret_stays() -> None:
    said = "unknown_parameter (param session.audio.output.voice): a voice of one's own, function"

    assert unquoted(said, SESSION) == said


def test_a_session_without_them_masks_nothing() -> None:
    assert unquoted("The model does not exist.", {"instructions": None}) == (
        "The model does not exist."
    )


words = st.text("ab ", min_size=MIN_QUOTED_CHARS, max_size=60)


@given(prompt=words, before=st.text("xy"), after=st.text("xy"), data=st.data())
def test_no_piece_of_a_prompt_that_is_long_enough_is_left(
    prompt: str, before: str, after: str, data: st.DataObject
) -> None:
    length = min(len(prompt), MAX_QUOTED_CHARS)
    start = data.draw(st.integers(0, len(prompt) - length))
    quoted = prompt[start : start + data.draw(st.integers(length, len(prompt)))]

    masked = unquoted(before + quoted + after, {"instructions": prompt})

    assert masked == f"{before}{'*' * len(quoted)}{after}"


@given(st.text())
def test_it_is_never_longer_than_a_line_of_the_log_may_be(detail: str) -> None:
    assert len(unquoted(detail * 100, SESSION)) <= MAX_DETAIL_CHARS

"""The user's turn, as a table."""

import pytest

from relay.core.turn import TURNS, Turn, TurnEvent


def test_each_event_is_legal_in_each_state() -> None:
    """The upstream decides on the order of its events, so none of them can be a defect."""
    assert TURNS.keys() == set(Turn)
    for steps in TURNS.values():
        assert steps.keys() == set(TurnEvent)


def test_a_turn_is_taken_until_it_is_answered() -> None:
    turn = Turn.SILENT
    passed = []
    for event in (TurnEvent.STARTED, TurnEvent.ENDED, TurnEvent.ENDED, TurnEvent.ANSWERED):
        turn = TURNS[turn][event]
        passed.append(turn)

    assert passed == [Turn.SPEAKING, Turn.TAKEN, Turn.TAKEN, Turn.SILENT]


def test_an_answer_that_began_before_the_user_speaks_does_not_end_the_turn() -> None:
    assert TURNS[Turn.SPEAKING][TurnEvent.ANSWERED] is Turn.SPEAKING


@pytest.mark.parametrize("turn", Turn)
def test_cleared_audio_ends_any_turn(turn: Turn) -> None:
    assert TURNS[turn][TurnEvent.CLEARED] is Turn.SILENT


def test_a_commit_without_speech_takes_no_turn() -> None:
    assert TURNS[Turn.SILENT][TurnEvent.ENDED] is Turn.SILENT

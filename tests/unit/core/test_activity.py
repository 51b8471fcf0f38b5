"""The deadlines of a session."""

from relay.core.activity import Activity
from relay.core.errors import SessionExpired, SessionIdle


def start() -> Activity:
    return Activity(max_session_seconds=100, idle_seconds=10, now=0.0)


def test_a_session_is_idle_after_the_last_activity() -> None:
    activity = start()
    activity.at = 5.0

    assert activity.deadline == 15.0
    assert activity.ended(14.9) is None
    assert isinstance(activity.ended(15.0), SessionIdle)


def test_audio_that_is_being_played_is_activity_until_its_end() -> None:
    activity = start()
    activity.play(1.0, 3.0)
    activity.play(2.0, 3.0)

    assert activity.deadline == 17.0
    activity.interrupt(3.0)
    assert activity.deadline == 13.0


def test_expiry_comes_before_idleness() -> None:
    activity = start()
    activity.at = 99.0

    assert activity.deadline == 100.0
    assert isinstance(activity.ended(200.0), SessionExpired)

"""Tests of the circuit: when sessions skip an upstream, and when they try it again."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.circuit import FAILURES, FIRST_SECONDS, MAX_SECONDS, Circuit, worth_trying


def circuit(*, failures: int = 0, jitter: float = 1.0) -> Circuit:
    """Return a circuit after ``failures`` in a row, at second 0."""
    made = Circuit(lambda: jitter)
    for _ in range(failures):
        made.begin(0)
        made.failed(0)
    return made


def test_a_circuit_opens_after_failures_in_a_row() -> None:
    tired = circuit(failures=FAILURES - 1)
    assert tired.wait_seconds(0) == 0

    tired.failed(0)

    assert tired.is_open
    assert tired.wait_seconds(0) == FIRST_SECONDS


def test_an_answer_resets_the_count() -> None:
    tired = circuit(failures=FAILURES - 1)

    tired.answered()
    tired.failed(0)

    assert not tired.is_open
    assert tired.wait_seconds(0) == 0


def test_after_the_wait_one_session_tries_it_and_the_others_skip_it() -> None:
    broken = circuit(failures=FAILURES)
    assert broken.wait_seconds(FIRST_SECONDS - 0.1) == pytest.approx(0.1)
    assert broken.wait_seconds(FIRST_SECONDS) == 0

    broken.begin(FIRST_SECONDS)

    assert broken.wait_seconds(FIRST_SECONDS) == 2 * FIRST_SECONDS


def test_an_answer_closes_it() -> None:
    broken = circuit(failures=FAILURES)
    broken.begin(FIRST_SECONDS)

    broken.answered()

    assert not broken.is_open
    assert broken.wait_seconds(FIRST_SECONDS) == 0
    broken.failed(10)
    assert not broken.is_open


def test_the_wait_doubles_up_to_a_limit() -> None:
    broken, now, waits = circuit(failures=FAILURES), 0.0, []
    for _ in range(2000):
        waits.append(broken.wait_seconds(now))
        now += waits[-1]
        broken.begin(now)
        broken.failed(now)

    assert waits[:5] == [5, 10, 20, 40, 60]
    assert set(waits[4:]) == {MAX_SECONDS}


def test_jitter_shortens_the_wait_by_up_to_half() -> None:
    assert circuit(failures=FAILURES, jitter=0.0).wait_seconds(0) == FIRST_SECONDS / 2
    assert circuit(failures=FAILURES, jitter=0.5).wait_seconds(0) == FIRST_SECONDS * 3 / 4


def test_late_failures_of_earlier_sessions_do_not_extend_the_wait() -> None:
    broken = circuit(failures=FAILURES)

    for second in range(4):
        broken.failed(second)

    assert broken.wait_seconds(4) == FIRST_SECONDS - 4


def test_an_answer_before_the_wait_is_over_closes_it() -> None:
    broken = circuit(failures=FAILURES)

    broken.begin(1)  # tried during the wait, because all circuits are open
    broken.answered()

    assert broken.wait_seconds(1) == 0


def test_an_attempt_without_a_result_needs_no_report() -> None:
    broken = circuit(failures=FAILURES)

    broken.begin(FIRST_SECONDS)

    assert broken.wait_seconds(FIRST_SECONDS + 2 * FIRST_SECONDS) == 0


def test_upstreams_with_a_closed_circuit_are_tried_in_their_order() -> None:
    circuits = {"a": circuit(failures=FAILURES), "b": circuit(), "c": circuit()}

    assert worth_trying(circuits, 0) == ("b", "c")
    assert worth_trying(circuits, FIRST_SECONDS) == ("a", "b", "c")


def test_if_all_circuits_are_open_the_shortest_wait_is_tried() -> None:
    late, soon = circuit(failures=FAILURES), circuit(failures=FAILURES, jitter=0)

    assert worth_trying({"late": late, "soon": soon}, 0) == ("soon",)
    assert worth_trying({"late": late}, 0) == ("late",)


steps = st.tuples(
    st.sampled_from(["begin", "failed", "answered"]), st.floats(0, 100), st.floats(0, 1)
)


@given(st.lists(steps, max_size=60))
def test_after_any_history_it_is_tried_again_within_a_minute(
    history: list[tuple[str, float, float]],
) -> None:
    now, jitters = 0.0, itertools.cycle([jitter for *_, jitter in history] or [0.5])
    some = Circuit(lambda: next(jitters))
    for step, seconds, _ in history:
        now += seconds
        if step == "answered":
            some.answered()
            assert not some.is_open
        else:
            (some.begin if step == "begin" else some.failed)(now)

        assert 0 <= some.wait_seconds(now) <= MAX_SECONDS
        assert some.wait_seconds(now + MAX_SECONDS) == 0
        assert worth_trying({"some": some}, now) == ("some",)

"""The data that waits for all slow clients together."""

from relay.wire.waiting_data import WaitingData


class Client:
    """A client for which some bytes wait."""

    def __init__(self, waiting_bytes: int) -> None:
        self.bytes = waiting_bytes
        self.closed = 0
        self.on_slow = self._close

    def waiting_bytes(self) -> int:
        return self.bytes

    def _close(self) -> None:
        self.closed += 1


def test_the_client_with_most_waiting_data_is_closed() -> None:
    data, clients = WaitingData(100), [Client(40), Client(50), Client(20)]
    for client in clients:
        data.note(client)

    assert [client.closed for client in clients] == [0, 1, 0]


def test_as_many_clients_are_closed_as_hold_too_much() -> None:
    data, clients = WaitingData(100), [Client(60), Client(30), Client(300)]
    for client in clients:
        data.note(client)
    clients[1].bytes = 90
    data.note(clients[1])

    assert [client.closed for client in clients] == [0, 1, 1]


def test_data_that_was_sent_meanwhile_does_not_count() -> None:
    data, fast, slow = WaitingData(100), Client(90), Client(90)
    data.note(fast)
    fast.bytes = 5
    data.note(slow)

    assert (fast.closed, slow.closed) == (0, 0)


def test_a_client_with_room_or_a_lost_one_does_not_count() -> None:
    data, gone, slow = WaitingData(100), Client(90), Client(90)
    data.note(gone)
    data.discard(gone)
    data.discard(gone)
    data.note(slow)

    assert (gone.closed, slow.closed) == (0, 0)

"""The peer broke the protocol of RFC 6455."""

from relay.core.close import CloseCode


class BrokenProtocol(Exception):
    """The peer broke the protocol; ``code`` is the close code for it."""

    def __init__(self, code: CloseCode) -> None:
        super().__init__(code)
        self.code = code

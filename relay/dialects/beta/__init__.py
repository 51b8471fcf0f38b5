"""The beta interface of the Realtime API, which OpenAI switched off on 2026-05-12.

Old clients use it, and some upstreams. A session of the relay uses GA. These modules translate
between the two, and are pure::

    fields.py        the place of each field of one interface in the other
    events.py        events of one interface in the other
    shapes.py        the part of a value that a type allows
    vocabulary.py    the events, fields and values that the types of the beta interface have
    peers.py         the messages of a client and of an upstream
    minting.py       the session of an issued credential
"""

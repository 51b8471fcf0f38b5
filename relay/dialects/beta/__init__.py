"""The beta interface of the Realtime API, which OpenAI switched off on 2026-05-12.

Old clients speak it, and some upstreams; a session of the relay speaks GA. Here is what lies
between the two, all of it pure::

    fields.py        where a field of the one is in the other
    events.py        events, from the one into the other
    shapes.py        what of a value can be said at all
    vocabulary.py    what the types of the beta interface can say
    peers.py         the messages of a client, and of an upstream, that speaks beta
"""

"""Builds the relay; all other metadata is in pyproject.toml.

With RELAY_COMPILE=1, mypyc compiles the modules that a message and a ``response.done`` pass through
to machine code. A module with a struct of msgspec, a subclass of ``bytes`` or an exception is not
compiled: mypyc loses a part of their definitions, or does not have them. A module with a coroutine
is not compiled either: an exception that it handles stays the current exception of the thread.
"""

import os

from setuptools import setup

COMPILED = {
    "core": """
        activity api_errors audio binary_audio calling_response client_events client_messages
        confirmed_session conversation counts deltas estimation events first_audio follow_up
        hidden_items ids labels meter objects passing_events paths policy pricing quotations rates
        redaction redactor reporting requests server_events session session_state settling
        stripped_fields terms tool_calls turn usage
    """,
    "dialects": "translated",  # a class that is not compiled cannot inherit from a session
    "wire": "frame_reader frames hang_up intake liveness slow_reader state waiting_data",
}

extensions = []
if os.environ.get("RELAY_COMPILE") == "1":
    from mypyc.build import mypycify

    modules = [f"{room}/{name}" for room, names in COMPILED.items() for name in names.split()]
    paths = [f"relay/{module}.py" for module in modules]
    extensions = mypycify(paths, group_name="relay", debug_level="0", opt_level="1")

setup(ext_modules=extensions)

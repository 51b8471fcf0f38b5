"""The format of the lock files."""

import re

ENTRY = re.compile(
    r"(?P<name>[a-z0-9-]+)(?:\[(?P<extras>[a-z0-9-]+(?:, [a-z0-9-]+)*)\])?"
    r"==(?P<version>[^ ;]+)(?: ; (?P<marker>[^\\\n]+?))?"
    r"(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n"
)
"""One entry of a lock: name, extras, version, marker, hashes."""

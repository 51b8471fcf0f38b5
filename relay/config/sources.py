"""The files of a configuration: relay.yaml and one file for each persona."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from relay.yaml.source import Document, KeyPath, Problem

Values = dict[str, Any]
"""The mapping at the root of a file."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The documents of a configuration.

    Attributes:
        root: The document of relay.yaml.
        personas: The documents of the personas, by name.
    """

    root: Document[Values]
    personas: Mapping[str, Document[Values]]

    def documents(self) -> Iterator[tuple[KeyPath, Document[Values]]]:
        """Yield each document with its path in the configuration."""
        yield (), self.root
        for name, document in self.personas.items():
            yield ("personas", name), document

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem at a path of the configuration, in the file that has this path."""
        match path:
            case ("personas", str() as name, *rest):
                return self.personas[name].problem(tuple(rest), message)
            case _:
                return self.root.problem(path, message)

    def values(self) -> dict[str, Any]:
        """Return the values of a `Config`."""
        personas = {name: {**read.value, "name": name} for name, read in self.personas.items()}
        return {**self.root.value, "personas": personas, "file": self.root.file}

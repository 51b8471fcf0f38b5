"""Fixtures that load a configuration from text."""

from pathlib import Path

import pytest
from configurations import ENVIRON, PERSONA, RELAY, Load, ProblemsOf

from relay.config.loading import InvalidConfig, load
from relay.config.models import Config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "personas").mkdir()
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.fixture
def load_text(folder: Path) -> Load:
    def load_text(relay: str = RELAY, persona: str = PERSONA, **environ: str) -> Config:
        (folder / "relay.yaml").write_text(relay)
        (folder / "personas" / "receptionist.yaml").write_text(persona)
        return load(folder / "relay.yaml", ENVIRON | environ)

    return load_text


@pytest.fixture
def problems_of(load_text: Load, folder: Path) -> ProblemsOf:
    """Return the problems of a configuration, with paths relative to its folder."""

    def problems_of(relay: str = RELAY, persona: str = PERSONA, **environ: str) -> list[str]:
        with pytest.raises(InvalidConfig) as caught:
            load_text(relay, persona, **environ)
        assert "s3cret" not in str(caught.value) + repr(caught.value)
        assert list(map(str, caught.value.problems)) == str(caught.value).splitlines()
        return [line.removeprefix(f"{folder}/") for line in str(caught.value).splitlines()]

    return problems_of

"""The folder that lists are written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.producer.lists.reading import Folder


@pytest.fixture
def lists(tmp_path: Path) -> Folder:
    return Folder(tmp_path)

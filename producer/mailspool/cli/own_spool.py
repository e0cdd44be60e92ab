"""A spool for one run in a temporary folder, for demo and rehearsals: nobody's settings, nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailspool.settings import Settings


@contextmanager
def own_settings(what: str, relay_url: str, **more: object) -> Iterator[Settings]:
    """Of nobody's environment and files; the folder goes when it ends. `more`: settings that count all the same."""
    from mailspool.settings import Settings

    folder = Path(tempfile.mkdtemp(prefix=f"mailspool-{what}-"))
    config = folder / f"{what}.toml"
    config.write_text(f'retry_schedule = "1s*"\nretry_jitter = 0\nehlo_name = "localhost"\nrelay_url = "{relay_url}"\n')
    others = {name: value for name, value in os.environ.items() if name.upper().startswith("MAILSPOOL_")}
    try:
        for name in others:
            del os.environ[name]
        yield Settings.load(config, data_dir=folder / "spool", redis_url=None, **more)
    finally:
        os.environ.update(others)
        shutil.rmtree(folder, ignore_errors=True)


def sweep(data_dir: Path) -> None:
    """After a second Ctrl-C: the server of a spool that nobody will use again ends by force, and its folder goes."""
    from mailspool.redis_server import process

    with suppress(FileNotFoundError):  # it was never started
        process.send_signal(process.holders(data_dir), signal.SIGKILL)
    shutil.rmtree(data_dir.parent, ignore_errors=True)

"""Reads a whole list for the tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mailspool.lists import BadRow, ListOptions, ListRow, Rows, RowSource, open_rows


@dataclass
class Read:
    """Everything a list gave. `source` is closed; what it knew about the list remains."""

    source: RowSource
    rows: list[ListRow]
    bad: list[BadRow]
    sizes: list[int]

    @property
    def values(self) -> list[dict[str, object]]:
        return [row.values for row in self.rows]

    @property
    def problems(self) -> list[str]:
        return [f"{self.source.unit} {bad.line}: {bad.problem}" for bad in self.bad]


async def read_all(source: Rows, options: ListOptions | None = None) -> Read:
    rows: list[ListRow] = []
    bad: list[BadRow] = []
    sizes: list[int] = []
    async with open_rows(source, options) as opened:
        async for batch in opened.batches():
            sizes.append(len(batch))
            rows += [item for item in batch if isinstance(item, ListRow)]
            bad += [item for item in batch if isinstance(item, BadRow)]
    return Read(opened, rows, bad, sizes)


@dataclass(frozen=True)
class Folder:
    """Writes lists and reads them: `await lists.read("customers.csv", "email\\na@x.org\\n")`."""

    path: Path
    options: ListOptions = ListOptions()  # noqa: RUF009 - frozen

    def write(self, name: str, content: str | bytes) -> Path:
        file = self.path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    async def read(self, name: str, content: str | bytes, **options: object) -> Read:
        return await read_all(self.write(name, content), replace(self.options, **options))  # type: ignore[arg-type] # options by name, as the tests spell them

"""Address lists: one a line, comments, names, blank lines."""

from __future__ import annotations

from mailspool.lists import ListRow
from mailspool.lists.rows import BATCH_ROWS
from tests.producer.lists.reading import Folder


async def test_an_address_list(lists: Folder) -> None:
    found = await lists.read(
        "people.txt",
        "\ufeff# our people\r\n\r\nali@X.org\r\n  Ali Reza <ali@y.org>  # since May\r\n"
        "a#b@x.org\r\nali@@x.org # typo\r\n#\r\nb@x.org",
    )
    assert found.rows == [
        ListRow("ali@x.org", {"email": "ali@x.org"}, 3),
        ListRow("ali@y.org", {"email": "ali@y.org"}, 4, "Ali Reza"),
        ListRow("a#b@x.org", {"email": "a#b@x.org"}, 5),
        ListRow("b@x.org", {"email": "b@x.org"}, 8),
    ]
    assert found.problems == ['line 6: "ali@@x.org": two @ signs']
    assert found.bad[0].cells == ("ali@@x.org",)
    assert found.source.columns == ("email",)
    assert found.source.describe() == "UTF-8, one address a line"


async def test_old_line_ends_and_long_stretches_of_comments(lists: Folder) -> None:
    text = "a@x.org\r" + "# nothing\r" * (3 * BATCH_ROWS) + "b@x.org\r"
    found = await lists.read("people.txt", text)
    assert [(row.recipient, row.line) for row in found.rows] == [("a@x.org", 1), ("b@x.org", 3 * BATCH_ROWS + 2)]


async def test_a_list_with_only_comments_has_no_rows(lists: Folder) -> None:
    found = await lists.read("people.txt", "# nobody yet\n")
    assert (found.rows, found.bad) == ([], [])

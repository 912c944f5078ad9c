"""What several tests of the reporting room need: pages read back."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest


class Page(HTMLParser):
    """An HTML page: its addresses, the texts of its cells, the ids of its articles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.cells: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.articles: list[dict[str, str]] = []
        self._open = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.addresses += [given[name] for name in ("src", "href", "data", "srcset", "action") if given.get(name)]
        self.ids += [given["id"]] if "id" in given else []
        if tag == "article":
            self.articles.append(given)
        if tag in ("td", "th"):
            self._open = True
            self.cells.append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._open = False

    def handle_data(self, data):
        if self._open:
            self.cells[-1] += data


@pytest.fixture
def page():
    return Page

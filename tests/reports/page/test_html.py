import re
from html.parser import HTMLParser

from reports.page.html import Markup, cell, column, join, number, page, prose, table, tag

HOSTILE = """"><script>alert('x')</script>&amp;"""


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "a < b & c", Markup("<br>")) == "<p>a &lt; b &amp; c<br></p>"
    assert join("<i>", None, 3) == "&lt;i&gt;3"
    assert prose("run `a<b` now") == "run <code>a&lt;b</code> now"
    assert prose("<b>") == "&lt;b&gt;"


def test_attributes_are_escaped_and_omitted_for_none() -> None:
    found = tag("td", class_="a", data_value=0.5, title=HOSTILE, hidden=True, id=None, lang=False)
    assert found.startswith('<td class="a" data-value="0.5" title="&quot;&gt;&lt;script&gt;')
    assert found.endswith(" hidden></td>")
    assert "id=" not in found


def test_a_missing_number_is_an_empty_cell() -> None:
    assert number(None) == '<td class="number"></td>'
    assert number("0.5", 0.5) == '<td data-value="0.5" class="number">0.5</td>'


def test_a_page_is_balanced_and_makes_no_requests() -> None:
    content = table([column("name")], [[cell(HOSTILE)]], class_="sortable")
    text = page(HOSTILE, tag("h1", HOSTILE), content)
    open_tags: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "br"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Balance().feed(text)
    assert open_tags == []
    assert text.count("<script") == 1  # the page's own
    assert "default-src 'none'" in text.replace("&#x27;", "'")
    assert not re.search(r"https?:|//[a-z]|<link|<img|@import|url\(", text)

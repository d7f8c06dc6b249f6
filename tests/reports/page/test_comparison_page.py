from pathlib import Path

from reports.page.comparison import write_comparison
from reports.statistics.comparison import Population, compare_populations


def test_the_page_escapes_names_and_warnings(tmp_path: Path) -> None:
    hostile = "</text></svg><script>alert(1)</script> $\\frac{ 漢字 😀" + "x" * 200
    comparison = compare_populations(
        [Population(name="low", hard=(0.1, 0.2)), Population(name=hostile, hard=(0.5, 0.6))]
    )
    page = write_comparison(comparison, [f"differ in {hostile}"], tmp_path).read_text()
    assert page.count("<script") == 1
    assert page.count("<svg") == 1
    assert "&lt;script&gt;" in page
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"compare.html", "compare.svg", "compare.png", "compare.csv"}

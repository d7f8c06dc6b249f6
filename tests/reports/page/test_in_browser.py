"""The report in headless Chromium."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fake_stages import make_candidate, make_stage

from reports.page.search_report import write_report
from reports.search_data import SearchData

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
WIDTHS = (390, 800, 1600)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a report of two stages with seeds, curves and a failure, and return its URL."""
    made = [
        make_candidate(number, 0.02 * number, {2: 0.01, 4: 0.02 * number})
        for number in range(1, 12)
    ]
    confirmed = [replace(c, hards=(c.hard or 0.0, 0.2)) for c in made[-2:]]
    stages = (make_stage([*made, "x" * 300]), make_stage([*made[:-2], *confirmed, None], stage=2))
    command = "scrfd-nas trial scrfd_0.5g --out " + "long/" * 40
    search = SearchData(
        name="a" * 80, stages=stages, location="runs/" + "b" * 90, baseline_command=command
    )
    return write_report(search, tmp_path_factory.mktemp("report")).as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start a browser without a window."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if BROWSER is None or DRIVER is None:
        pytest.skip("no browser: chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.implicitly_wait(10)
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: Any, page: str) -> Any:
    """Open the page anew, at the width of a laptop."""
    resize(browser, 1280)
    browser.get(page)
    return browser


def resize(browser: Any, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def find(browser: Any, selector: str) -> list[Any]:
    found: list[Any] = browser.find_elements("css selector", selector)
    return found


def column(browser: Any, number: int) -> list[str]:
    return [cell.text for cell in find(browser, f"table.board tbody td:nth-child({number})")]


def test_no_message_reaches_the_console(opened: Any) -> None:
    assert opened.get_log("browser") == []


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(opened: Any, width: int) -> None:
    resize(opened, width)
    widths = "return [document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"
    page_width, body_width, window_width = opened.execute_script(widths)
    assert max(page_width, body_width) <= window_width == width
    for heading in find(opened, ".card h2, .verdict, .card pre"):
        box = heading.rect
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_the_column_that_ranks_stays_in_sight(opened: Any) -> None:
    resize(opened, 390)
    opened.execute_script("document.querySelector('.scroll').scrollLeft = 10000")
    cell = find(opened, "table.board td:nth-child(3)")[0].rect
    assert 0 <= cell["x"] < cell["x"] + cell["width"] <= 390


def test_a_heading_sorts_its_table_both_ways(opened: Any) -> None:
    table = "table.board"
    button = find(opened, f"{table} th:nth-child(2) button")[0]
    button.click()
    rows = [int(text) for text in column(opened, 2) if text]
    half = len(rows) // 2
    assert rows[:half] == sorted(rows[:half])
    button.click()
    assert [int(text) for text in column(opened, 2)][:half] == sorted(rows[:half], reverse=True)


def test_a_candidate_under_the_pointer_is_marked_everywhere(opened: Any) -> None:
    actions = pytest.importorskip("selenium.webdriver").ActionChains
    row = find(opened, "table.board tbody tr")[0]
    actions(opened).move_to_element(row).perform()
    candidate = row.get_attribute("data-candidate")
    marked = find(opened, ".on")
    assert len(marked) > 7  # a row, a point in each panel, curves
    assert {item.get_attribute("data-candidate") for item in marked} == {candidate}
    assert {item.tag_name for item in marked} == {"tr", "g"}


def test_chosen_candidates_stand_side_by_side(opened: Any) -> None:
    for tick in find(opened, "table.board input")[:2]:
        tick.click()
    assert len(find(opened, ".compare table tr:first-child td")) == 2
    hard = [cell.text for cell in find(opened, ".compare tr:nth-child(3) td")]
    assert hard[1].endswith(" -0.0100")  # of means of (0.22, 0.2) and (0.2, 0.2)
    find(opened, "table.board input")[0].click()
    opened.implicitly_wait(0)
    assert find(opened, ".compare table") == []
    opened.implicitly_wait(10)


def test_the_page_is_complete_without_scripts(opened: Any, page: str) -> None:
    words = "return document.querySelector('main').innerText"
    figures = "return document.querySelectorAll('figure svg').length"
    script = opened.execute_script(figures)
    opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened.get(page)
        evaluate = {"expression": words.removeprefix("return "), "returnByValue": True}
        plain = opened.execute_cdp_cmd("Runtime.evaluate", evaluate)["result"]["value"]
        count = {"expression": figures.removeprefix("return "), "returnByValue": True}
        assert opened.execute_cdp_cmd("Runtime.evaluate", count)["result"]["value"] == script
    finally:
        opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "Tick two or more" not in plain  # written by the script alone
    for text in ("hard AP", "scrfd-nas confirm --stage", "Failed trials", "network", "x" * 300):
        assert text in plain

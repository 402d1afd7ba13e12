"""The HTML kit: a page holds its sections, plots and tables, and no text can become markup or end a script."""

from __future__ import annotations

import json
import sys

import pytest

from recsys.errors import DependencyError
from recsys.pages.page import cards, figure, in_script, left_out, page
from recsys.pages.plots import colour_of, faint, plot_spec, safe, short, titled_axis, whiskers
from recsys.pages.tables import definitions, number, percent, table

EVIL = "</script><b>&"


def test_a_page_holds_its_sections_in_order_and_a_link_to_each() -> None:
    sections = {"one": ("First", "<p>a</p>"), "two": ("Second", figure("plot-x", EVIL))}
    spec = plot_spec([{"x": [1], "y": [2]}], {"xaxis": titled_axis("x")}, 300)
    html = page(title=EVIL, about="about", sections=sections, specs={"plot-x": spec}, version="1.0")
    assert html.index('<section id="one">') < html.index('<section id="two">')
    assert all(f'<a href="#{anchor}">' in html for anchor in sections)
    assert EVIL not in html
    assert "default-src 'none'" in html
    drawn = html.split('id="specs">')[1].split("</script>")[0]
    assert json.loads(drawn) == {"plot-x": spec}


def test_json_in_a_script_cannot_end_it_and_stays_the_same() -> None:
    text = in_script({"title": EVIL})
    assert "<" not in text
    assert json.loads(text) == {"title": EVIL}
    with pytest.raises(ValueError, match="not JSON compliant"):
        in_script(float("nan"))


def test_without_plotly_a_page_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(DependencyError, match="pip install plotly"):
        page(title="t", about="a", sections={}, specs={}, version="1")


def test_names_and_reasons_are_escaped() -> None:
    assert EVIL not in cards({EVIL: "<b>1</b>"}) + left_out(EVIL, EVIL) + definitions({EVIL: EVIL}) + safe(EVIL)
    assert "<b>1</b>" in cards({"recall": "<b>1</b>"})


def test_a_table_puts_numbers_to_the_right() -> None:
    html = table(["name", "n"], [["a", "1"], ["b", "2"]], right=(1,))
    assert html.count('<td class="number">') == 2
    assert html.count("<tr>") == 3
    assert "<thead>" not in table([], [["a", "b"]], last_wide=True)


def test_numbers_without_a_value_are_dashes() -> None:
    assert (number(None), number(0.5), number(2, 1), percent(None), percent(0.123)) == (
        "–",
        "0.5000",
        "2.0",
        "–",
        "12.3\u00a0%",
    )


def test_parts_of_plots() -> None:
    assert list(colour_of(["a", "b"])) == ["a", "b"]
    assert len(short("x" * 100)) < 30
    assert short("<b>") == "&lt;b&gt;"
    assert faint("#3182ce") == "rgba(49,130,206,0.14)"
    assert whiskers([1.0, None, 0.5], [0.75, 0.5, 0.5]) == [0.25, None, None]

import sys

from lesionlab.reporting.open import show


def test_the_page_is_opened_and_its_address_printed(tmp_path, monkeypatch, capsys):
    page, opened = tmp_path / "a page.html", tmp_path / "opened"
    page.write_text("<p>hello</p>")
    # A browser that only notes what it was asked to show.
    browser = tmp_path / "browser.py"
    browser.write_text(f"import sys, pathlib; pathlib.Path({str(opened)!r}).write_text(sys.argv[1])")
    monkeypatch.setattr("webbrowser._tryorder", None)
    monkeypatch.setattr("webbrowser._browsers", {})
    monkeypatch.setenv("BROWSER", f"{sys.executable} {browser} %s")
    assert show(page)
    # A space is %20 in an address.
    assert opened.read_text().endswith("/a%20page.html")
    assert "a%20page.html" in capsys.readouterr().out


def test_a_page_that_is_not_there_is_told_of(tmp_path, capsys):
    assert not show(tmp_path / "none.html")
    assert f"There is no page {tmp_path}/none.html" in capsys.readouterr().out

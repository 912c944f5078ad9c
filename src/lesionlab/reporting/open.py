"""Open a page in the browser, or say where it lies: ``python -m lesionlab.reporting.open PAGE``."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path


def show(page: Path) -> bool:
    """Open the page where there is a browser; print its address either way. Returns whether a browser took it.

    A missing page is reported and no error: what came before may have been hours of work, and ended well.
    """
    if not page.is_file():
        print(f"There is no page {page}: look where the last lines of the run say that it was saved.")
        return False
    address = page.resolve().as_uri()
    print(f"The report: {address}")
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False


if __name__ == "__main__":
    show(Path(sys.argv[1]))

"""Whether a built site fits its readers' screens: `python -m tests.reports.site site` prints what does not.

Every page is opened in headless Chromium at the widths of a phone, a tablet, two laptops and a large screen, light and
dark: nothing may be wider than the window, raise an error, or ask the network.
"""

import sys
import tempfile
from pathlib import Path

from tests.reports.browser import MISSING, PATH, Browser

WIDTHS = (390, 768, 1024, 1366, 1920)


def faults(site: Path) -> list[str]:
    """What is wrong, a line each."""
    found = []
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser:
        for page in sorted(site.rglob("*.html")):
            for width in WIDTHS:
                for dark in (False, True) if width == WIDTHS[0] else (False,):
                    browser.open(page, width=width, dark=dark)
                    wide = browser("document.documentElement.scrollWidth")
                    told = f"{page.relative_to(site)} at {width} px"
                    if wide > width:
                        found.append(f"{told}: {wide} px wide")
                    found += [f"{told}: {error}" for error in browser.errors]
                    asked = [address for address in browser.requested if not address.startswith(("file:", "data:"))]
                    found += [f"{told}: asks for {address}" for address in asked]
    return found


if __name__ == "__main__":
    if PATH is None:
        sys.exit(MISSING)
    lines = faults(Path(sys.argv[1]).resolve())
    print("\n".join(lines) or "every page fits")
    sys.exit(bool(lines))

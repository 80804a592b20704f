"""The look at a built site finds a page that is wider than a screen, and one that asks the network."""

import pytest

from tests.reports.browser import MISSING, PATH
from tests.reports.site import WIDTHS, faults

pytestmark = pytest.mark.skipif(PATH is None, reason=MISSING)


def test_a_wide_page_and_a_request_are_found(tmp_path):
    (tmp_path / "fits.html").write_text("<meta name=viewport content='width=device-width'><p>short")
    (tmp_path / "asks.html").write_text(
        "<meta name=viewport content='width=device-width'><img src='http://a.test/x.png'>"
    )
    (tmp_path / "wide.html").write_text(
        "<meta name=viewport content='width=device-width'><div style='width:1200px'>wide</div>"
    )
    found = faults(tmp_path)
    assert not [line for line in found if line.startswith("fits.html")]
    wide = {int(line.split(" at ")[1].split()[0]) for line in found if line.startswith("wide.html")}
    assert wide == {width for width in WIDTHS if width < 1200}
    assert any("asks for http://a.test/x.png" in line for line in found)

from __future__ import annotations

from pathlib import Path

from xingyue_benchmarks.html_report import page

MARKDOWN = """# A run

- one <tag>
- **two**

| target | load | 2xx/s |
|---|---|---|
| raw | 1 process | 50.0 |
| platform | 1 connection | 48.0 |

A line
and its rest.

![a.png](a.png)
![gone.png](gone.png)
"""


def test_a_page_holds_everything_itself(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    html = page(MARKDOWN, tmp_path)
    assert "<title>A run</title>" in html
    assert "<ul><li>one &lt;tag&gt;</li><li><strong>two</strong></li></ul>" in html
    assert "<th>target</th><th>load</th><th>2xx/s</th>" in html
    assert html.count("<tr") == 3
    assert '<tr class="platform"><td>platform</td>' in html
    assert "<p>A line and its rest.</p>" in html
    assert 'src="data:image/png;base64,iVBORw=="' in html
    assert "(gone.png is missing)" in html
    assert "http" not in html

"""The page of a benchmark: whole in one file, and alive in a browser."""

import html
import json
import re
import subprocess
from pathlib import Path

from tests.report.conftest import Benchmarked
from vapsr_arch.report.page import _json

# What a reader does, and what is then on the page; the page's own scripts have run.
SCRIPT = """
<script>
const report = [];
const order = () => [...document.querySelectorAll('table.sortable')[0].tBodies[0].rows].map(row => row.cells[0].textContent);
const heading = name => [...document.querySelectorAll('th button')].find(button => button.textContent === name);
heading('parameters').click();
report.push(order().join());
heading('parameters').click();
report.push(order().join());
report.push(element('left-caption').textContent, element('right-caption').textContent);
element('image').value = 1;
element('image').dispatchEvent(new Event('change'));
element('right').value = 0;
element('right').dispatchEvent(new Event('change'));
report.push(element('image').selectedOptions[0].textContent, element('right-caption').textContent);
element('split').value = 25;
element('split').dispatchEvent(new Event('input'));
report.push(element('over').style.clipPath);
Promise.all(['under', 'over'].map(id => element(id).decode())).then(() => {
  report.push(element('over').naturalWidth + 'x' + element('over').naturalHeight);
  const result = document.createElement('pre');
  result.id = 'report';
  result.textContent = JSON.stringify(report);
  document.body.append(result);
});
</script>
"""


def test_the_page_loads_nothing_from_elsewhere(benchmarked: Benchmarked) -> None:
    page = (benchmarked.out / 'index.html').read_text()
    assert set(re.findall(r'(?:src|href)="([^"#][^"]{0,4})', page)) == {'data:'}
    assert 'url(http' not in page and '@import' not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))  # those of the plots, too
    assert page.count('<svg') == 2 and page.count('data:image/webp') == 4 * 4  # images; HR, bicubic, two networks


def test_no_name_ends_the_pages_script() -> None:
    names = ['<!--<script>', '</script>', 'a & b', '\u2028\u2029']
    text = _json(names)
    assert json.loads(text) == names and not set('<>&\u2028\u2029') & set(text)


def test_the_page_works_in_a_browser(benchmarked: Benchmarked, tmp_path: Path, chromium: str) -> None:
    page = (benchmarked.out / 'index.html').read_text()
    (tmp_path / 'page.html').write_text(page.replace('</body>', SCRIPT + '</body>'))
    result = subprocess.run([chromium, '--headless', '--no-sandbox', '--disable-gpu', f'--user-data-dir={tmp_path / "profile"}',
                             '--virtual-time-budget=10000', '--dump-dom', (tmp_path / 'page.html').as_uri()],
                            capture_output=True, text=True)
    report = re.search(r'<pre id="report">(.+?)</pre>', result.stdout)
    assert report, result.stderr[-2000:]
    ascending, descending, left, right, image, hr, clip, size = json.loads(html.unescape(report[1]))
    assert ascending == 'IMDN,VapSR,broken,bicubic'  # VapSR's twin keeps its place; what has no value stays below
    assert descending == 'VapSR,broken,IMDN,bicubic'
    assert left.startswith('bicubic: psnr ') and right.startswith('VapSR: psnr ')
    assert image.startswith('photos: ') and hr == 'HR'
    assert clip == 'inset(0px 0px 0px 25%)'
    assert size == '96x64'

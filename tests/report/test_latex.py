"""The table for a paper."""

from types import SimpleNamespace

import pytest

from vapsr_arch.report.latex import escape, latex, table_tex
from vapsr_arch.report.row import Row


@pytest.fixture
def benchmark() -> SimpleNamespace:
    def row(title: str, psnr: float, lpips: float, **more: object) -> Row:
        return Row(title, 4, scores={'Set_5': {'psnr': psnr, 'lpips': lpips}}, **more)

    rows = [Row('bicubic', 4, scores={'Set_5': {'psnr': 28.43, 'lpips': 0.4}}),
            row('A&B', 32.401, 0.2, parameters=342220, multi_adds=19520000000), row('C', 32.399, 0.3, parameters=1000),
            row('D', 32.1, 0.1, source='a paper'), Row('no_checkpoint', 4, parameters=5)]
    return SimpleNamespace(rows=rows, sets={'Set_5': None}, scale=4, highlight=frozenset(['C']),
                           metrics={'psnr': {'type': 'calculate_psnr'}, 'lpips': {'type': 'calculate_pyiqa', 'better': 'lower'}})


def test_the_best_is_bold_and_the_second_underlined(benchmark: SimpleNamespace) -> None:
    """Figures that are equal as they are printed share a mark; of errors the lowest is the best."""
    lines = latex(benchmark).splitlines()
    assert lines[1] == r'\begin{tabular}{lrrr}'
    assert lines[3:5] == [r'Method & Params [K] & Multi-adds [G] & Set\_5 \\', r' &  &  & PSNR / LPIPS \\']
    assert lines[6:11] == [
        r'bicubic & -- & -- & 28.43 / 0.4000 \\',
        r'A\&B & 342 & 19.52 & \textbf{32.40} / \underline{0.2000} \\',
        r'\textbf{C} & 1 & -- & \textbf{32.40} / 0.3000 \\',
        r'D$^\dagger$ & -- & -- & \underline{32.10} / \textbf{0.1000} \\',
        r'no\_checkpoint & 0 & -- & -- \\']
    assert lines[11:13] == [r'\bottomrule', r'\end{tabular}']
    assert '% D (published): a paper' in lines


def test_a_scale_has_a_table_of_its_own(benchmark: SimpleNamespace) -> None:
    other = SimpleNamespace(**{**vars(benchmark), 'scale': 2})
    text = table_tex([other, benchmark])
    assert text.startswith('% \\usepackage{booktabs}\n% A dagger') and text.count(r'\toprule') == 2
    assert text.index('% x2') < text.index('% x4')


def test_names_are_escaped() -> None:
    assert escape(r'a_b^{2} 50% $x$ #1 ~ \n') == (
        r'a\_b\textasciicircum{}\{2\} 50\% \$x\$ \#1 \textasciitilde{} \textbackslash{}n')
    assert escape('[1] *') == '{[}1{]} {*}'

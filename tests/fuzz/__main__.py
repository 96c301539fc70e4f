"""`python -m tests.fuzz [COUNT [KIND ...]]`: tries many damaged files of each kind, and prints what came of them.

Each kind has a process of its own, so that one that is killed is an outcome as well.
"""

import faulthandler
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.fuzz.cases import LONGEST, Outcome
from tests.fuzz.exploring import KINDS, explore

_SHOWN = 10  # faults of a kind
_REPORTED = 100  # cases from one report to the next: a long run can be looked at, and one that is killed is not lost
_FOUND = 3  # the exit status of a process that came to its end and found faults
_CHILD = '''
import sys
from pathlib import Path
from tests.fuzz.__main__ import _FOUND, explore_and_report
kind, count, folder = sys.argv[1:]
sys.exit(0 if explore_and_report(kind, int(count), Path(folder)) else _FOUND)
'''


def explore_and_report(kind: str, count: int, folder: Path) -> bool:
    """Tries the cases of a kind; True if all ended well. `folder` holds the case being tried, and a report on those before."""
    kinds: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    examples: dict[str, Any] = {}
    slowest, largest = Outcome('', None, -1, 0), Outcome('', None, 0, -1)

    def started(case: Any) -> None:
        (folder / 'case').write_text(repr(case), encoding='utf-8', errors='backslashreplace')
        faulthandler.dump_traceback_later(60 * LONGEST, exit=True)  # it hangs, even on a busy machine

    def record(case: Any, outcome: Outcome) -> None:
        nonlocal slowest, largest
        kinds[outcome.kind] += 1
        if outcome.fault:
            faults[outcome.fault] += 1
            examples.setdefault(outcome.fault, case)
        slowest = max(slowest, outcome, key=lambda each: each.seconds)
        largest = max(largest, outcome, key=lambda each: each.memory)
        if kinds.total() % _REPORTED == 0:
            write()

    def write() -> None:
        (folder / 'report').write_text('\n'.join(report()), encoding='utf-8', errors='backslashreplace')

    def report() -> list[str]:
        lines = [f'{kind}: {kinds.total()} cases: ' + ', '.join(f'{number} {name}' for name, number in kinds.most_common()),
                 f'  slowest {slowest.seconds:.2f} s ({slowest.kind}), largest {largest.memory / 2**20:.0f} MiB ({largest.kind})']
        return lines + [f'  FAULT, {number} times: {fault}\n    {examples[fault]!r:.2000}'
                        for fault, number in faults.most_common(_SHOWN)]

    explore(kind, count, record, started)
    write()
    return not faults


def main() -> None:
    """Runs the fuzzers named on the command line, each in a process, and exits with 1 if one found a fault."""
    count, kinds = int((sys.argv[1:] or ['10000'])[0]), sys.argv[2:] or KINDS
    well = True
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            process = subprocess.run([sys.executable, '-c', _CHILD, kind, str(count), folder], capture_output=True,
                                     text=True, errors='replace')
            case, report = (Path(folder, name) for name in ('case', 'report'))
            if report.exists():
                print(report.read_text(encoding='utf-8'), flush=True)
            if process.returncode not in (0, _FOUND):
                print(f'{kind}: FAULT: the process ended with {process.returncode} in the case\n  '
                      + (case.read_text(encoding='utf-8')[:2000] if case.exists() else 'before the first'),
                      *process.stderr.splitlines()[-20:], sep='\n    ', flush=True)
            well &= process.returncode == 0
    sys.exit(not well)


if __name__ == '__main__':
    main()

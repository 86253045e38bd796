"""Analyses of finished runs: what trained weights say beyond the test metrics (Figures 5, 6, 7 and our own).

`run(names, folder)` measures and writes `<run folder>/analysis/<name>.json`; `powmix.analysis.__main__` is the command
`powmix-analyze`. Nothing heavy is imported before something must be measured.
"""

from powmix.analysis.catalogue import NAMES, choose
from powmix.analysis.running import run

__all__ = ["NAMES", "choose", "run"]

"""Reads files from strangers in a child process, each within two seconds of processor time; the memory is measured.

The kernel ends the child at the two seconds (an interval timer of its processor time), and refuses it more address
space than a machine has; neither depends on how busy the machine is.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

SECONDS, RESIDENT, ADDRESS_SPACE, LAST_RESORT = 2.0, 500 * 2**20, 4 * 2**30, 300
CHILD = """
import json, resource, signal, sys
from pathlib import Path
{imports}
def memory(key):
    return [int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key)][0]
address_space, seconds = int(sys.argv[1]), float(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (address_space,) * 2)
for path in map(Path, sys.argv[3:]):
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
    before = memory("VmRSS")
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        said = {read}
        answer = [None, str(said)]
    except Exception as error:
        answer = [type(error).__name__, str(error)]
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(json.dumps([*answer, memory("VmHWM") - before]), flush=True)
"""
ARRAYS = (
    "from powmix.data import load\nfrom powmix.data.registry import defaults\n"
    "try:\n    import pyarrow.parquet\nexcept ImportError:\n    pass",
    'load({**defaults("arrays"), "path": str(path)}, ("*",)) and None',
)
FEATURES = "from powmix.data import msena", "msena.read(path) and None"
SEEDS = "from powmix.runs.seed_records import finished_seed", "finished_seed(path, 1111)"
WEIGHTS = "from powmix.training import checkpoint\nfrom torch.nn import Linear", "checkpoint.fit(Linear(2, 2), path)"
RUNS = (
    "from powmix.runs.records import finished_variant, read_record",
    "finished_variant(path, [1111]) or read_record(path) and None",
)


def read_in_child(reader: tuple[str, str], folder: Path, paths: Iterable[Path]) -> list[tuple[str | None, str, int]]:
    """For each file the error's type (None where there was none), its text or what was read, and the memory it took."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "ARROW_DEFAULT_MEMORY_POOL": "system"}
    source = CHILD.format(imports=reader[0], read=reader[1])
    done = subprocess.run(
        [sys.executable, "-c", source, str(ADDRESS_SPACE), str(SECONDS), *map(str, paths)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LAST_RESORT,
        env=environment,
    )
    answers = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"the reader ended with {done.returncode} at {[*paths][len(answers)]}: {done.stderr}"
    return answers

"""Counts everything in this process, and prints the figures as JSON.

With the name of a scenario it prints what each function has its share in.
"""

import json
import sys
from importlib import import_module

from tests.benchmarks.counted.network import install

install()
# Only now: what the package takes from the standard library has to be ours.
scenarios = import_module("tests.benchmarks.counted.scenarios")
if len(sys.argv) > 1:
    for function, instructions in scenarios.profile(sys.argv[1]):
        print(f"{instructions:8.1f}  {function}")
else:
    print(json.dumps(scenarios.run_all(scenarios.Bench())))

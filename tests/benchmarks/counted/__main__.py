"""Counts everything in this process, and prints the figures as JSON."""

import json
from importlib import import_module

from tests.benchmarks.counted.network import install

install()
# Only now: what the package takes from the standard library has to be ours.
scenarios = import_module("tests.benchmarks.counted.scenarios")
print(json.dumps(scenarios.run_all()))

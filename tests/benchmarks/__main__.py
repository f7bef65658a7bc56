"""``python -m tests.benchmarks``: see ``command.py``; this makes sure that it has what it needs."""

import os
import sys
from importlib.util import find_spec

from tests.benchmarks.clients import Client, Environments

if find_spec("trustme") is None:  # it makes the certificates for TLS
    harness = Client("harness", "the harness", "trustme", "trustme")
    python = str(Environments(sys.executable).interpreter(harness))
    os.execv(python, [python, "-m", "tests.benchmarks", *sys.argv[1:]])

from tests.benchmarks.command import main

main()

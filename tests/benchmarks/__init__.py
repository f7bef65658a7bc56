"""Measurements, run by hand: nothing here is a test.

``python -m tests.benchmarks`` compares mqttlite with other clients: what is measured stands in
``scenarios.py``, how each client is used in ``adapters/``, and the results in
docs/reference/benchmarks.md. ``growth.py`` and ``in_flight.py`` look at mqttlite alone.
"""

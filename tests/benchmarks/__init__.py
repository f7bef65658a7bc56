"""Measurements, run by hand.

``python -m tests.benchmarks`` compares mqttlite with other clients: what is measured stands in
``scenarios.py``, how each client is used in ``adapters/``, and the results in
docs/reference/benchmarks.md. ``growth.py``, ``in_flight.py`` and ``work.py`` look at mqttlite
alone; the figures of the last are counts, which ``tests/unit/test_work.py`` watches.
``awaiting.py`` measures what asyncio takes for waiting, below which no client can be.
"""

"""Measurements, run by hand; ``tests/unit/test_work.py`` runs the one whose figures are counts."""

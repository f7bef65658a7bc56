"""Tests of properties that hold for all values, with hypothesis."""

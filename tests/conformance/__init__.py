"""Tests that show, statement by statement, what the specifications ask of a client."""

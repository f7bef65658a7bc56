"""Tests of the packet codec."""

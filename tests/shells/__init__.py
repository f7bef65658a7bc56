"""One suite for both clients; see lab.py."""

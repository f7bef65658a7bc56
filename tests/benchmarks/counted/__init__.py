"""Counts what a message costs, in figures that do not depend on the machine's mood."""

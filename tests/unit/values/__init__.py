"""Endpoints and options."""

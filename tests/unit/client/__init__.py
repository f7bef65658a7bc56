"""The client core: what lives over many connections."""

"""One connection and the session that outlives it."""

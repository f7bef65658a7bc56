"""Both clients against real brokers."""

"""What the specifications demand of a client, statement by statement."""

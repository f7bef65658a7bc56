"""The statements of the specifications, the tests that show them, and the table of both."""

"""One file a behaviour: ClientCore against a server, over a simulated link and clock."""

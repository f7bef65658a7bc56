"""The layers below the protocol."""

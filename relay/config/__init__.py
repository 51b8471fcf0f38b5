"""The configuration: its models, how it is loaded, the price list, the session schema."""

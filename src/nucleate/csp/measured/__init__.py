"""Search of a crystal whose powder pattern has been measured."""

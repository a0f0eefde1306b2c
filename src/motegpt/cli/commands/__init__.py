"""One module per command, under the name of the command."""

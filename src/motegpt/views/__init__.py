"""What a person sees: the command line, the console report, drawings."""

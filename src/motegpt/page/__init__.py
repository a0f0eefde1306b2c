"""The page in which a GPT trains: one HTML document that needs no network."""

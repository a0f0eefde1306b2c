"""What a generation asks for, in token ids, and the filters of its distribution."""

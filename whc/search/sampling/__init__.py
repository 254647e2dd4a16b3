"""What a search tries next: which configuration, for how long, and which it goes on with."""

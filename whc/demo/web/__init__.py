"""The demo in a browser: the files that a page needs, and what they are."""

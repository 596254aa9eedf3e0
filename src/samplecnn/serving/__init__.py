"""Local pages: an HTTP server on the loopback interface, guarded by a token, and what it serves."""

"""Where files can be sent on to: one module for each kind of destination."""

"""HTTP: parse, authorise, call one use case, answer."""

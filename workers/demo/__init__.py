"""What `secateur demo` measures with plain transformers, in a process of its own."""

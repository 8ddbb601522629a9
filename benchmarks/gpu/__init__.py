"""Speed and memory of the engine on a GPU, beside llm-compressor."""

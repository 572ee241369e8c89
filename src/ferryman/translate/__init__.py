"""OpenAI's format to Anthropic's and back. Pure: bytes in, bytes out."""

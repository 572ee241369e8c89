"""Virtual keys and whom and what they belong to: LiteLLM's paths, fields and answers over the store."""

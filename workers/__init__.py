"""The model process: an OpenAI-compatible endpoint over an engine. Knows no tenants and no money."""

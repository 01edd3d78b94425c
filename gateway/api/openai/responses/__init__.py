"""OpenAI's Responses API, without state: every request brings its whole conversation, and nothing is kept of the reply."""

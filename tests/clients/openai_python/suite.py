"""openai-python: everything that the SDK offers and a gateway can serve, with its own types in strict mode."""

from tests.clients.openai_python import chat, failures, others, responses, tools
from tests.clients.openai_python.start import cases

PARTS = (chat, tools, failures, others, responses)
"""Importing them names their cases."""

if __name__ == "__main__":
    cases.main()

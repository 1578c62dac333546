"""OpenAI's completions API: HTTP below ``/openai/v1``."""

"""OpenAI's completions: the door for everything that speaks to ``https://api.openai.com/v1/completions``."""

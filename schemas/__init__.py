"""The nouns: frozen values every other package speaks in; imports nothing of ours."""

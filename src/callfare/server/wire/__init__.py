"""Wire models: what goes over HTTP, and nothing else. The only place with pydantic."""

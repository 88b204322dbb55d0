"""How the engine openai_server works: requests and retries, concurrency, the handshake, answers read"""

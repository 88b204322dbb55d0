"""Where prompts come from: homes, mirrors, digests, prompt files."""

"""Where prompts come from: public homes and mirrors checked by digest, own files, ways to read a task."""

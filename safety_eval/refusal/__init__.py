"""Reading an answer without a model: is it an answer, a refusal, or nothing at all?"""

"""Reranking with a multimodal LLM (section 4.2)."""

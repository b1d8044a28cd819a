"""Tokenization: documents in, nanotron-ready token shards out, ids exact to the last token."""

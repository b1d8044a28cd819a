-- One row a token shard on disk, training and validation: path, counts and hashes.
-- example: SELECT source, split, count(*) AS shards, sum(tokens) AS tokens FROM shards GROUP BY ALL ORDER BY ALL
CREATE VIEW shards AS
SELECT profile, tokenizer, source, split, path, bytes, tokens, documents, text_bytes, text_characters,
  tokens / nullif(documents, 0) AS tokens_per_document, xxh3_128, sha256, eos_id, token_width, vocab_size
FROM store.shards
ORDER BY profile, tokenizer, source, split, path;

COMMENT ON COLUMN shards.profile IS 'sample or hub';
COMMENT ON COLUMN shards.tokenizer IS 'name of the tokenizer';
COMMENT ON COLUMN shards.source IS 'source name';
COMMENT ON COLUMN shards.split IS 'train or validation';
COMMENT ON COLUMN shards.path IS 'of the .ds file, relative to the folder of this catalog';
COMMENT ON COLUMN shards.bytes IS 'size of the .ds file';
COMMENT ON COLUMN shards.tokens IS 'ids in the shard, the EOS of each document included';
COMMENT ON COLUMN shards.documents IS 'documents in the shard';
COMMENT ON COLUMN shards.text_bytes IS 'UTF-8 bytes of their texts';
COMMENT ON COLUMN shards.text_characters IS 'Unicode scalars of their texts';
COMMENT ON COLUMN shards.tokens_per_document IS 'mean length of a document';
COMMENT ON COLUMN shards.xxh3_128 IS 'hash of the .ds file';
COMMENT ON COLUMN shards.sha256 IS 'hash of the .ds file; empty until a hand-off fills it';
COMMENT ON COLUMN shards.eos_id IS 'id that ends each document';
COMMENT ON COLUMN shards.token_width IS 'bytes an id';
COMMENT ON COLUMN shards.vocab_size IS 'ids of the tokenizer, special tokens included';

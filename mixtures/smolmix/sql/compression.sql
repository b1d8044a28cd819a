-- One row a source and split: characters and bytes a token, the EOS of each document not counted. Published for English: 3.94 characters a token, on text that is not published; here it is all text of these shards.
-- example: SELECT source, language, round(characters_per_token, 2) AS characters, round(bytes_per_token, 2) AS bytes FROM compression WHERE split = 'train' ORDER BY characters_per_token DESC
CREATE VIEW compression AS
SELECT s.profile, s.tokenizer, s.source, any_value(r.language) AS language, s.split,
  sum(s.documents)::HUGEINT AS documents, sum(s.text_characters)::HUGEINT AS characters,
  sum(s.text_bytes)::HUGEINT AS bytes, (sum(s.tokens) - sum(s.documents))::HUGEINT AS tokens,
  sum(s.text_characters) / nullif(sum(s.tokens) - sum(s.documents), 0) AS characters_per_token,
  sum(s.text_bytes) / nullif(sum(s.tokens) - sum(s.documents), 0) AS bytes_per_token
FROM store.shards s LEFT JOIN store.registry r USING (source)
WHERE s.text_bytes > 0 -- imported shards have no text
GROUP BY s.profile, s.tokenizer, s.source, s.split
ORDER BY s.profile, s.tokenizer, s.source, s.split;

COMMENT ON COLUMN compression.profile IS 'sample or hub';
COMMENT ON COLUMN compression.tokenizer IS 'name of the tokenizer';
COMMENT ON COLUMN compression.source IS 'source name';
COMMENT ON COLUMN compression.language IS 'language of the source, from the registry; null if it has many or is not listed';
COMMENT ON COLUMN compression.split IS 'train or validation';
COMMENT ON COLUMN compression.documents IS 'documents tokenized';
COMMENT ON COLUMN compression.characters IS 'Unicode scalars of their texts';
COMMENT ON COLUMN compression.bytes IS 'UTF-8 bytes of their texts';
COMMENT ON COLUMN compression.tokens IS 'ids without the EOS of each document';
COMMENT ON COLUMN compression.characters_per_token IS 'characters / tokens';
COMMENT ON COLUMN compression.bytes_per_token IS 'bytes / tokens';

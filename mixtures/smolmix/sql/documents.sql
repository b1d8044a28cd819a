-- One row a tokenized document: the shard that holds it and its token range, read from the sidecars.
-- example: SELECT source, id, shard, "begin", "end" FROM documents WHERE split = 'train' ORDER BY "end" - "begin" DESC LIMIT 5
CREATE VIEW documents AS
SELECT s.profile, s.source, s.split, d.id, s.path AS shard, d."begin", d."end",
  d."end" - d."begin" AS tokens, d.file, d."row", s.tokenizer
FROM store.sidecars d JOIN store.shards s USING (path);

COMMENT ON COLUMN documents.profile IS 'sample or hub';
COMMENT ON COLUMN documents.source IS 'source name';
COMMENT ON COLUMN documents.split IS 'train or validation';
COMMENT ON COLUMN documents.id IS 'stable identifier, unique in the source';
COMMENT ON COLUMN documents.shard IS 'path of the .ds file, relative to the folder of this catalog';
COMMENT ON COLUMN documents."begin" IS 'offset of the first token in the shard';
COMMENT ON COLUMN documents."end" IS 'offset after its EOS';
COMMENT ON COLUMN documents.tokens IS 'end - begin, the EOS included';
COMMENT ON COLUMN documents.file IS 'document file it was read from';
COMMENT ON COLUMN documents."row" IS 'row in that file';
COMMENT ON COLUMN documents.tokenizer IS 'name of the tokenizer';

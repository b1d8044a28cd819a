-- One row a plan and training shard: its canonical place and its windows at the plan's sequence length.
-- example: SELECT source, count(*) AS shards, sum(windows) AS windows FROM planned_shards WHERE plan = 'stage2-blog' GROUP BY source ORDER BY windows DESC
CREATE VIEW planned_shards AS
SELECT profile, plan, source, ordinal, path, tokens, documents, bytes, windows, xxh3_128, sha256, virtual
FROM store.planned_shards
ORDER BY profile, plan, source, ordinal;

COMMENT ON COLUMN planned_shards.profile IS 'sample, full (no data) or hub';
COMMENT ON COLUMN planned_shards.plan IS 'folder of the plan';
COMMENT ON COLUMN planned_shards.source IS 'source name';
COMMENT ON COLUMN planned_shards.ordinal IS 'canonical position in the source; the ledger names shards by it';
COMMENT ON COLUMN planned_shards.path IS 'of the .ds file, relative to the folder of this catalog; null: virtual';
COMMENT ON COLUMN planned_shards.tokens IS 'ids in the shard';
COMMENT ON COLUMN planned_shards.documents IS 'documents in the shard; null: unknown';
COMMENT ON COLUMN planned_shards.bytes IS 'size of the .ds file';
COMMENT ON COLUMN planned_shards.windows IS 'tokens // (sequence_length + 1)';
COMMENT ON COLUMN planned_shards.xxh3_128 IS 'hash of the .ds file; empty: virtual';
COMMENT ON COLUMN planned_shards.sha256 IS 'hash of the .ds file; may be empty';
COMMENT ON COLUMN planned_shards.virtual IS 'sized from the registry, no file';

-- One row a bundle and shard: the step of the stage before which it must be there, and the bytes needed by then.
-- example: SELECT source, path, first_step, bytes, bytes_by_then FROM staging WHERE plan = 'stage2-blog' ORDER BY first_step LIMIT 10
CREATE VIEW staging AS
SELECT profile, plan, source, ordinal, path, bytes, tokens, sha256, first_step,
  sum(bytes) OVER (PARTITION BY profile, plan ORDER BY first_step RANGE UNBOUNDED PRECEDING) AS bytes_by_then
FROM store.staging
WHERE first_step IS NOT NULL
ORDER BY profile, plan, first_step, source, ordinal;

COMMENT ON COLUMN staging.profile IS 'sample, full (no data) or hub';
COMMENT ON COLUMN staging.plan IS 'folder of the plan and of the bundle';
COMMENT ON COLUMN staging.source IS 'source name';
COMMENT ON COLUMN staging.ordinal IS 'canonical position in the source';
COMMENT ON COLUMN staging.path IS 'of the .ds file, relative to the folder of this catalog; null: virtual';
COMMENT ON COLUMN staging.bytes IS 'size of the .ds file; null: virtual';
COMMENT ON COLUMN staging.tokens IS 'ids in the shard';
COMMENT ON COLUMN staging.sha256 IS 'hash of the .ds file; empty: virtual';
COMMENT ON COLUMN staging.first_step IS 'step of the stage, from 0, that opens the shard first';
COMMENT ON COLUMN staging.bytes_by_then IS 'bytes of all shards that are opened up to that step';

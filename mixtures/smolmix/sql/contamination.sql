-- One row a plan, benchmark and source of the decontamination report: its documents and how often the stage reads them.
-- example: SELECT count(*) AS rows, coalesce(sum(tokens_read), 0) AS tokens_read FROM contamination WHERE stage = 'stage2'
CREATE VIEW contamination AS
SELECT profile, plan, stage, benchmark, source, documents, matched_tokens, passes, passes_exact, exposure,
  exposure_exact, tokens_read
FROM store.contamination
ORDER BY profile, plan, benchmark, source;

COMMENT ON COLUMN contamination.profile IS 'sample, full (no data) or hub; its report is <profile>/contamination.parquet';
COMMENT ON COLUMN contamination.plan IS 'folder of the plan';
COMMENT ON COLUMN contamination.stage IS 'name of the recipe';
COMMENT ON COLUMN contamination.benchmark IS 'benchmark whose text was found';
COMMENT ON COLUMN contamination.source IS 'source name';
COMMENT ON COLUMN contamination.documents IS 'documents that hold text of the benchmark';
COMMENT ON COLUMN contamination.matched_tokens IS 'tokens that match, added up over the documents';
COMMENT ON COLUMN contamination.passes IS 'passes of the stage over the source; null: size unknown';
COMMENT ON COLUMN contamination.passes_exact IS 'the same as p/q';
COMMENT ON COLUMN contamination.exposure IS 'matched tokens x passes; null: size unknown';
COMMENT ON COLUMN contamination.exposure_exact IS 'the same as p/q';
COMMENT ON COLUMN contamination.tokens_read IS 'tokens of these documents in windows that the stage reads, once each reading; null: no shards';

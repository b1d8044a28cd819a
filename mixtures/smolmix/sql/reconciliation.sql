-- One row a stage and source, or domain (source null): the share in the blog, as released, planned and consumed.
-- example: SELECT stage, domain, blog_percent, released_percent, planned_percent FROM reconciliation WHERE source IS NULL
CREATE VIEW reconciliation AS
SELECT profile, plan, stage, domain, source, blog, released, planned, blog_percent, released_percent,
  planned_percent, consumed_percent, windows, tokens, tokenized, consumed
FROM store.reconciliation
ORDER BY profile, plan, source NULLS FIRST, domain;

COMMENT ON COLUMN reconciliation.profile IS 'sample, full (no data) or hub';
COMMENT ON COLUMN reconciliation.plan IS 'folder of the plan';
COMMENT ON COLUMN reconciliation.stage IS 'name of the recipe';
COMMENT ON COLUMN reconciliation.domain IS 'web, code, math or reasoning';
COMMENT ON COLUMN reconciliation.source IS 'source name; null: the whole domain';
COMMENT ON COLUMN reconciliation.blog IS 'exact share in the preset blog; null: none';
COMMENT ON COLUMN reconciliation.released IS 'exact share in the preset released, normalised; null: none';
COMMENT ON COLUMN reconciliation.planned IS 'exact share planned';
COMMENT ON COLUMN reconciliation.blog_percent IS '100 x blog, rounded to a double';
COMMENT ON COLUMN reconciliation.released_percent IS '100 x released, rounded to a double';
COMMENT ON COLUMN reconciliation.planned_percent IS '100 x planned, rounded to a double';
COMMENT ON COLUMN reconciliation.consumed_percent IS '100 x consumed / all windows consumed; null: no run';
COMMENT ON COLUMN reconciliation.windows IS 'windows planned';
COMMENT ON COLUMN reconciliation.tokens IS 'tokens planned';
COMMENT ON COLUMN reconciliation.tokenized IS 'training tokens at hand; null: unknown';
COMMENT ON COLUMN reconciliation.consumed IS 'windows in the ledger of the run that came furthest; null: no run';

-- One row a source of a stage's curriculum: passes before, in and after the stage.
-- example: SELECT source, passes_before, passes, passes_after FROM exposure WHERE stage = 'stage2' ORDER BY passes_after DESC
CREATE VIEW exposure AS
SELECT profile, plan, stage, preset, source, domain, windows, tokens,
  passes_before_value AS passes_before, passes_value AS passes,
  passes_before_value + passes_value AS passes_after
FROM store.allocation
ORDER BY profile, plan, passes_after DESC NULLS LAST, source;

COMMENT ON COLUMN exposure.profile IS 'sample, full (no data) or hub';
COMMENT ON COLUMN exposure.plan IS 'folder of the plan';
COMMENT ON COLUMN exposure.stage IS 'name of the recipe';
COMMENT ON COLUMN exposure.preset IS 'blog, released or null';
COMMENT ON COLUMN exposure.source IS 'source name';
COMMENT ON COLUMN exposure.domain IS 'web, code, math or reasoning';
COMMENT ON COLUMN exposure.windows IS 'windows drawn in this stage';
COMMENT ON COLUMN exposure.tokens IS 'tokens drawn in this stage';
COMMENT ON COLUMN exposure.passes_before IS 'passes of the earlier stages';
COMMENT ON COLUMN exposure.passes IS 'passes of this stage; null: size unknown';
COMMENT ON COLUMN exposure.passes_after IS 'passes when this stage is done';

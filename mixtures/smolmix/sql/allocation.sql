-- One row a stage and source: the exact weight, the windows and tokens it gets, and the passes that makes.
-- example: SELECT source, weight, percent, windows, tokens, passes FROM allocation WHERE stage = 'stage2' ORDER BY windows DESC
CREATE VIEW allocation AS
SELECT a.profile, a.plan, a.stage, a.preset, a.source, a.domain, a.source_group, a.status, a.published_weight,
  a.weight, a.percent, a.windows, a.tokens, a.passes_value AS passes, a.passes_before_value AS passes_before,
  a.passes AS passes_exact, a.passes_before AS passes_before_exact, a.shards, a.capacity_windows,
  a.offset_windows, a.held_back_windows, a.first_shard_offset
FROM store.allocation a JOIN store.stages s USING (profile, plan)
ORDER BY a.profile, s.start_step, a.plan, a.windows DESC, a.source;

COMMENT ON COLUMN allocation.profile IS 'sample, full (no data) or hub';
COMMENT ON COLUMN allocation.plan IS 'folder of the plan';
COMMENT ON COLUMN allocation.stage IS 'name of the recipe';
COMMENT ON COLUMN allocation.preset IS 'blog, released or null';
COMMENT ON COLUMN allocation.source IS 'source name';
COMMENT ON COLUMN allocation.domain IS 'web, code, math or reasoning';
COMMENT ON COLUMN allocation.source_group IS 'group in the recipe, from the outside in';
COMMENT ON COLUMN allocation.status IS 'present, absent (no text here), virtual (published size) or unknown_size';
COMMENT ON COLUMN allocation.published_weight IS 'exact share before absent sources were redistributed';
COMMENT ON COLUMN allocation.weight IS 'exact share planned; all of a stage sum to 1';
COMMENT ON COLUMN allocation.percent IS '100 x weight, rounded to a double: for reading only';
COMMENT ON COLUMN allocation.windows IS 'windows drawn in this stage';
COMMENT ON COLUMN allocation.tokens IS 'windows x sequence_length';
COMMENT ON COLUMN allocation.passes IS 'passes over the source in this stage, rounded; null: size unknown';
COMMENT ON COLUMN allocation.passes_before IS 'passes of the earlier stages, rounded';
COMMENT ON COLUMN allocation.passes_exact IS 'passes as p/q';
COMMENT ON COLUMN allocation.passes_before_exact IS 'passes of the earlier stages as p/q';
COMMENT ON COLUMN allocation.shards IS 'training shards of the source';
COMMENT ON COLUMN allocation.capacity_windows IS 'windows of one pass at this sequence length; null: unknown';
COMMENT ON COLUMN allocation.offset_windows IS 'windows drawn by the stages before, at this sequence length';
COMMENT ON COLUMN allocation.held_back_windows IS 'unread windows of shards opened at another sequence length';
COMMENT ON COLUMN allocation.first_shard_offset IS 'shards skipped for that reason';

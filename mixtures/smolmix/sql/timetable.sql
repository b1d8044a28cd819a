-- One row a visit of a shard to a node: from which step to which it must be there (`smolmix staging --save`).
-- example: SELECT node, source, path, fetch_step, first_step, last_step FROM timetable WHERE plan = 'stage2-blog' ORDER BY node, fetch_step LIMIT 10
CREATE VIEW timetable AS
SELECT profile, plan, nodes, node, source, ordinal, path, bytes, pass, fetch_step, first_step, last_step
FROM store.timetable t
-- A timetable of a plan that was made anew since is none.
SEMI JOIN store.stages s ON t.profile = s.profile AND t.plan = s.plan AND t.lock = s.lock
ORDER BY profile, plan, node, fetch_step, source, ordinal;

COMMENT ON COLUMN timetable.profile IS 'sample, full (no data) or hub';
COMMENT ON COLUMN timetable.plan IS 'folder of the plan';
COMMENT ON COLUMN timetable.nodes IS 'nodes that share each batch equally';
COMMENT ON COLUMN timetable.node IS 'from 0';
COMMENT ON COLUMN timetable.source IS 'source name';
COMMENT ON COLUMN timetable.ordinal IS 'canonical position in the source';
COMMENT ON COLUMN timetable.path IS 'of the .ds file, relative to the folder of this catalog; null: virtual';
COMMENT ON COLUMN timetable.bytes IS 'size of the .ds file';
COMMENT ON COLUMN timetable.pass IS 'pass over the source in which the visit begins';
COMMENT ON COLUMN timetable.fetch_step IS 'step of the stage, from 0, from which the shard takes room on the node';
COMMENT ON COLUMN timetable.first_step IS 'step at which the node reads it first';
COMMENT ON COLUMN timetable.last_step IS 'step after which it may be removed';

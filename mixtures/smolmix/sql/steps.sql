-- One row a step of a stage, computed when asked: its place in the curriculum, its sample indices, tokens so far.
-- example: SELECT step, curriculum_step, first_index, tokens_after FROM steps WHERE plan = 'stage2-blog' AND step < 3
CREATE VIEW steps AS
SELECT profile, plan, stage, step, start_step + step + 1 AS curriculum_step, step * batch_windows AS first_index,
  (step + 1) * batch_windows - 1 AS last_index, (step + 1)::HUGEINT * batch_windows * sequence_length AS tokens_after
FROM store.stages, LATERAL (SELECT unnest(range(steps)) AS step);

COMMENT ON COLUMN steps.profile IS 'sample, full (no data) or hub';
COMMENT ON COLUMN steps.plan IS 'folder of the plan';
COMMENT ON COLUMN steps.stage IS 'name of the recipe';
COMMENT ON COLUMN steps.step IS 'step of the stage, from 0';
COMMENT ON COLUMN steps.curriculum_step IS 'step of the curriculum, from 1, as nanotron counts';
COMMENT ON COLUMN steps.first_index IS 'first sample index that the step reads';
COMMENT ON COLUMN steps.last_index IS 'last sample index that the step reads';
COMMENT ON COLUMN steps.tokens_after IS 'tokens of this stage read when the step is done';

-- One row a planned stage: budget, steps, tokens, what it follows, and the lock that pins it.
-- example: SELECT stage, preset, steps, tokens, start_step, lock FROM stages
CREATE VIEW stages AS
SELECT profile, plan, stage, preset, unit, sequence_length, batch_windows, steps, windows, tokens, start_step,
  start_step + steps AS end_step, asked, asked_tokens, remainder_tokens, budget_why, follows, follows_lock, seed,
  validation_share, tokenizer, tokenizer_sha256, prefix_bound, lock
FROM store.stages
ORDER BY profile, start_step, plan;

COMMENT ON COLUMN stages.profile IS 'sample, full (no data) or hub';
COMMENT ON COLUMN stages.plan IS 'folder of the plan: <profile>/plans/<plan>';
COMMENT ON COLUMN stages.stage IS 'name of the recipe';
COMMENT ON COLUMN stages.preset IS 'blog, released, or null for a recipe without presets';
COMMENT ON COLUMN stages.unit IS 'windows (pretraining) or rows (post-training)';
COMMENT ON COLUMN stages.sequence_length IS 'tokens a window that the budget counts; a window is one longer on disk';
COMMENT ON COLUMN stages.batch_windows IS 'windows a step';
COMMENT ON COLUMN stages.steps IS 'optimizer steps of this stage';
COMMENT ON COLUMN stages.windows IS 'steps x batch_windows';
COMMENT ON COLUMN stages.tokens IS 'windows x sequence_length';
COMMENT ON COLUMN stages.start_step IS 'steps of all earlier stages';
COMMENT ON COLUMN stages.end_step IS 'steps of the curriculum when this stage is done';
COMMENT ON COLUMN stages.asked IS 'the budget as it was written, null if it was derived';
COMMENT ON COLUMN stages.asked_tokens IS 'the budget in tokens';
COMMENT ON COLUMN stages.remainder_tokens IS 'tokens asked for that no whole step can hold';
COMMENT ON COLUMN stages.budget_why IS 'how the budget came about';
COMMENT ON COLUMN stages.follows IS 'name of the stage before, null for the first';
COMMENT ON COLUMN stages.follows_lock IS 'lock of the stage before';
COMMENT ON COLUMN stages.seed IS 'seed of the order';
COMMENT ON COLUMN stages.validation_share IS 'share of documents held out, exact';
COMMENT ON COLUMN stages.tokenizer IS 'name of the tokenizer';
COMMENT ON COLUMN stages.tokenizer_sha256 IS 'hash of the vocabulary file';
COMMENT ON COLUMN stages.prefix_bound IS 'a source is never further than this from its share, in windows, at any prefix';
COMMENT ON COLUMN stages.lock IS 'one hash over inputs, recipe, tokenizer, seeds and code';

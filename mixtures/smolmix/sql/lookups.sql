-- Which documents a step reads, and at which steps a document is read: the order function and the sidecars joined.
-- What has been read before a step, and from which step to which each pass over a source goes: the order alone.
-- Nothing is stored over the samples. A window w holds the tokens from w x (sequence_length + 1) on.
CREATE MACRO shard_path(written, which_profile) AS
  CASE WHEN written LIKE '../../%' THEN which_profile || written[6:] ELSE written END;

CREATE MACRO docs_at(which_plan, step, which_profile := 'sample') AS TABLE
WITH stage AS (
  SELECT sequence_length + 1 AS length FROM store.stages WHERE plan = which_plan AND profile = which_profile
), drawn AS MATERIALIZED (
  SELECT sample_index, source, pass, shard AS ordinal, window_number
  FROM order_of_step(which_plan, step, which_profile := which_profile)
), opened AS MATERIALIZED (
  SELECT o.source, o.ordinal, shard_path(p.written, which_profile) AS path
  FROM (SELECT DISTINCT source, ordinal FROM drawn) o JOIN store.planned_shards p
    ON p.source = o.source AND p.ordinal = o.ordinal AND p.plan = which_plan AND p.profile = which_profile
), held AS (
  -- A document once for each window that it reaches: then equality joins it, not a range.
  SELECT o.source, o.ordinal, d.id, d."begin", d."end", length,
    unnest(range(d."begin" // length, (d."end" - 1) // length + 1)) AS window_number
  FROM store.sidecars d JOIN opened o USING (path), stage
)
SELECT r.sample_index, r.source, r.pass, r.ordinal, r.window_number, h.id,
  least(h."end", (r.window_number + 1) * h.length) - greatest(h."begin", r.window_number * h.length) AS tokens
FROM drawn r JOIN held h ON h.source = r.source AND h.ordinal = r.ordinal AND h.window_number = r.window_number
ORDER BY r.sample_index, h."begin";

CREATE MACRO sidecars_at(which_plan, step, which_profile := 'sample') AS (
  SELECT list(shard_path(written, which_profile) || '.docs.parquet' ORDER BY written)
  FROM (
    SELECT p.written
    FROM (SELECT DISTINCT source, shard FROM order_of_step(which_plan, step, which_profile := which_profile)) o
    JOIN store.planned_shards p ON p.source = o.source AND p.ordinal = o.shard
      AND p.plan = which_plan AND p.profile = which_profile)
);

CREATE MACRO steps_of(which_id, which_plan, which_profile := 'sample') AS TABLE
WITH stage AS (
  SELECT sequence_length + 1 AS length, batch_windows
  FROM store.stages WHERE plan = which_plan AND profile = which_profile
), held AS (
  SELECT p.source, p.ordinal, d."begin" // length AS first_window,
    least((d."end" - 1) // length, p.windows - 1) AS last_window
  FROM documents d JOIN store.planned_shards p ON p.path = d.shard, stage
  WHERE d.id = which_id AND d.profile = which_profile AND p.plan = which_plan AND p.profile = which_profile
), candidates AS MATERIALIZED (
  SELECT h.source, h.ordinal, s.pass, unnest(range(first_window, last_window + 1)) AS window_number
  FROM held h JOIN orders.shards s ON s.source = h.source AND s.shard = h.ordinal
    AND s.plan = which_plan AND s.profile = which_profile
  UNION
  SELECT h.source, h.ordinal, put.pass, put.window_number
  FROM held h JOIN orders.replacements put ON put.source = h.source AND put.shard = h.ordinal
    AND put.plan = which_plan AND put.profile = which_profile AND put.window_number BETWEEN first_window AND last_window
), found AS (
  SELECT source, ordinal, pass, window_number,
    order_index(which_plan, source, pass, ordinal, window_number, which_profile := which_profile) AS sample_index
  FROM candidates
)
SELECT sample_index // batch_windows AS step, sample_index, source, pass, ordinal, window_number
FROM found, stage WHERE sample_index IS NOT NULL
ORDER BY sample_index;

-- In closed form, from the tree's rounded lines: at a million shards as fast as at ten.
CREATE MACRO read_before(which_plan, step, which_profile := 'sample') AS TABLE
WITH stage AS (
  SELECT sequence_length, least(step * batch_windows, windows)::HUGEINT AS drawn
  FROM store.stages WHERE plan = which_plan AND profile = which_profile
), counted AS (
  SELECT source, capacity, sequence_length, list_reduce(
    list_reverse(path),
    lambda k, split: CASE WHEN split.is_left THEN order_left_before(split.windows, split.left_windows, k)
      ELSE k - order_left_before(split.windows, split.left_windows, k) END,
    drawn)::BIGINT AS windows
  FROM orders.sources, stage WHERE plan = which_plan AND profile = which_profile
)
SELECT source, windows, windows * sequence_length AS tokens, windows / capacity AS passes
FROM counted ORDER BY windows DESC, source;

CREATE MACRO passes_of(which_plan, which_profile := 'sample') AS TABLE
WITH stage AS (
  SELECT batch_windows FROM store.stages WHERE plan = which_plan AND profile = which_profile
), cut AS (
  SELECT source, path, capacity, pass, greatest(pass * capacity - first_window, 0) AS first,
    least((pass + 1) * capacity - first_window, windows) AS past
  FROM (
    SELECT *, unnest(range(first_window // capacity, (first_window + windows - 1) // capacity + 1)) AS pass
    FROM orders.sources WHERE plan = which_plan AND profile = which_profile AND capacity IS NOT NULL)
)
SELECT source, pass, order_ascend(path, first) // batch_windows AS first_step,
  order_ascend(path, past - 1) // batch_windows AS last_step, past - first AS windows, past - first = capacity AS whole
FROM cut, stage ORDER BY source, pass;

-- The order of every plan, in integers: the same arithmetic as smolmix.tree, smolmix.sequence, smolmix.permutation.
-- example: SELECT * FROM order_at('stage2-blog', 0, 8)
CREATE SCHEMA IF NOT EXISTS orders;

CREATE TABLE orders.stages (
  profile VARCHAR, plan VARCHAR, windows BIGINT, batch_windows BIGINT, steps BIGINT, start_step BIGINT, depth BIGINT,
  tree STRUCT(source VARCHAR, windows HUGEINT, left_windows HUGEINT, left_node BIGINT, right_node BIGINT)[]);
CREATE TABLE orders.sources (
  number INTEGER, profile VARCHAR, plan VARCHAR, source VARCHAR, first_window BIGINT, windows BIGINT, capacity BIGINT,
  key_a UBIGINT, key_b UBIGINT, path STRUCT(windows HUGEINT, left_windows HUGEINT, is_left BOOLEAN)[]);
-- Narrow: there may be millions. `number` is the row of orders.sources.
CREATE TABLE orders.opened (number INTEGER, pass INTEGER, slot BIGINT, shard UINTEGER, windows BIGINT);
CREATE VIEW orders.shards AS
SELECT profile, plan, source, pass::BIGINT AS pass, slot, shard::BIGINT AS shard, o.windows
FROM orders.opened o JOIN orders.sources USING (number);

CREATE TABLE orders.replacements (
  profile VARCHAR, plan VARCHAR, sample_index BIGINT, source VARCHAR, pass BIGINT, shard BIGINT, window_number BIGINT);

COMMENT ON TABLE orders.stages IS 'one row a plan; tree: the Huffman tree between its sources, the root first';
COMMENT ON TABLE orders.replacements IS 'sample indices of retracted plans that read another window of the same source';
COMMENT ON TABLE orders.sources IS 'first_window: number of the first window that the stage reads; capacity: of a pass';
COMMENT ON VIEW orders.shards IS 'shards in the order in which a pass opens them; slot: windows of the pass before it';

-- Rounds of the keyed bijection on [0, n): see smolmix.permutation. A list of one value per round at each step:
-- an expression that names its argument twice would double at every macro that it goes through.
CREATE MACRO order_mix_1(h) AS (xor(h, h >> 16) * 2146121005) & 4294967295;
CREATE MACRO order_mix_2(h) AS (xor(h, h >> 15) * 2221713035) & 4294967295;
CREATE MACRO order_mix_all(list) AS list_transform(
  list_transform(list_transform(list, lambda h: order_mix_1(h)), lambda h: order_mix_2(h)),
  lambda h: xor(h, h >> 16));
-- The key below a key for a number (a pass, a shard), one lane at a time: see smolmix.permutation.derive.
CREATE MACRO order_mix(h) AS order_mix_all([h])[1];
CREATE MACRO order_derive(lane, number, step) AS order_mix(
  xor(lane, order_mix((number::UBIGINT + step) & 4294967295)));
CREATE MACRO order_derive_a(lane, number) AS order_derive(lane, number, 2654435769);
CREATE MACRO order_derive_b(lane, number) AS order_derive(lane, number, 2246822507);
CREATE MACRO order_round_keys(lane, step) AS order_mix_all(
  list_transform(range(24)::UBIGINT[], lambda r: (lane + r * step) & 4294967295));
CREATE MACRO order_keys_a(key_a) AS order_round_keys(key_a, 2654435769);
CREATE MACRO order_keys_b(key_b) AS order_round_keys(key_b, 2246822507);
CREATE MACRO order_reflections(list_a, list_b, n) AS CASE WHEN n <= 4294967295
  THEN list_transform(list_a, lambda a: (a * n) >> 32)
  ELSE list_transform(list_a, lambda a, i: ((a & 1073741823) * 4294967296 + list_b[i]) % n) END;
CREATE MACRO order_partner(x, k, n) AS CASE WHEN k >= x THEN k - x ELSE k + n - x END;
CREATE MACRO order_fold(y) AS xor(y & 4294967295, y >> 32);
CREATE MACRO order_bit(y, b) AS order_mix_2((xor(order_fold(y), b) * 2146121005) & 4294967295) >= 2147483648;
CREATE MACRO order_swap(x, partner, b) AS CASE WHEN order_bit(greatest(x, partner), b) THEN partner ELSE x END;
CREATE MACRO order_rounds(rounds, list_k, list_b, n, x) AS list_reduce(
  rounds, lambda y, r: order_swap(y, order_partner(y, list_k[r], n), list_b[r]), x);
CREATE MACRO order_permute(list_k, list_b, n, x) AS order_rounds(range(1, 25), list_k, list_b, n, x);
CREATE MACRO order_unpermute(list_k, list_b, n, x) AS order_rounds(range(24, 0, -1), list_k, list_b, n, x);

-- Rounded lines of the tree: see smolmix.tree.
CREATE MACRO order_left_before(n, a, k) AS (2 * a * k + n) // (2 * n);
CREATE MACRO order_from_left(n, a, j) AS (2 * n * (j + 1) - n + 2 * a - 1) // (2 * a) - 1;
CREATE MACRO order_from_right(n, b, j) AS (2 * n * j + n) // (2 * b);
CREATE MACRO order_goes_left(n, a, k) AS order_left_before(n, a, k + 1) > order_left_before(n, a, k);
CREATE MACRO order_child(here, node) AS CASE WHEN node.source IS NOT NULL THEN here
  WHEN order_goes_left(node.windows, node.left_windows, here.k)
  THEN {'node': node.left_node, 'k': order_left_before(node.windows, node.left_windows, here.k)}
  ELSE {'node': node.right_node, 'k': here.k - order_left_before(node.windows, node.left_windows, here.k)} END;
CREATE MACRO order_descend(tree, depth, k) AS list_reduce(
  range(depth), lambda here, level: order_child(here, tree[here.node]), {'node': 1::BIGINT, 'k': k::HUGEINT});
CREATE MACRO order_ascend(path, j) AS list_reduce(
  path,
  lambda k, split: CASE WHEN split.is_left THEN order_from_left(split.windows, split.left_windows, k)
    ELSE order_from_right(split.windows, split.windows - split.left_windows, k) END,
  j::HUGEINT)::BIGINT;

CREATE MACRO order_at(which_plan, first_index, amount, which_profile := 'sample') AS TABLE
WITH found AS (
  SELECT i AS sample_index, tree, order_descend(tree, depth, i) AS leaf
  FROM orders.stages, range(first_index, first_index + amount) AS wanted(i)
  WHERE plan = which_plan AND profile = which_profile AND i BETWEEN 0 AND windows - 1
), numbered AS (
  SELECT sample_index, source, capacity, key_a, key_b, leaf.k::BIGINT + first_window AS number, place.number AS row
  FROM (SELECT sample_index, leaf, tree[leaf.node].source AS source FROM found)
    JOIN orders.sources AS place USING (source)
  WHERE place.plan = which_plan AND place.profile = which_profile
), placed AS MATERIALIZED (
  SELECT sample_index, source, capacity IS NULL AS endless, coalesce(number // capacity, 0) AS pass,
    coalesce(number % capacity, number) AS place, key_a, key_b, row
  FROM numbered
), reach AS MATERIALIZED (
  SELECT row, source, pass, min(place) AS first_place, max(place) AS last_place,
    order_derive_a(any_value(key_a), pass) AS key_a, order_derive_b(any_value(key_b), pass) AS key_b
  FROM placed WHERE NOT endless GROUP BY row, source, pass
), near AS MATERIALIZED (
  -- Of a million shards those between the first and the last place, before anything is sorted or mixed.
  SELECT source, reach.pass, slot, shard::BIGINT AS shard, windows::UBIGINT AS n,
    order_derive_a(key_a, shard) AS key_a, order_derive_b(key_b, shard) AS key_b
  FROM orders.opened AS o JOIN reach ON o.number = row AND o.pass = reach.pass
  WHERE slot <= last_place AND slot + windows > first_place
), opened AS MATERIALIZED (
  SELECT sample_index, placed.source, placed.pass, endless, place, coalesce(slot, 0) AS slot,
    coalesce(shard, 0) AS shard, n, near.key_a, near.key_b
  FROM placed ASOF LEFT JOIN near
    ON placed.source = near.source AND placed.pass = near.pass AND placed.place >= near.slot
), met AS MATERIALIZED (
  SELECT key_a, key_b, n, order_reflections(list_a, list_b, n) AS list_k, list_b
  FROM (
    SELECT key_a, key_b, n, order_keys_a(key_a) AS list_a, order_keys_b(key_b) AS list_b
    FROM (SELECT DISTINCT key_a, key_b, n FROM opened WHERE NOT endless))
), drawn AS (
  SELECT sample_index, source, pass, shard, CASE WHEN endless THEN place
    ELSE order_permute(list_k, list_b, met.n, (place - slot)::UBIGINT)::BIGINT END AS window_number
  FROM opened LEFT JOIN met USING (key_a, key_b, n)
)
SELECT sample_index, drawn.source, coalesce(put.pass, drawn.pass) AS pass, coalesce(put.shard, drawn.shard) AS shard,
  coalesce(put.window_number, drawn.window_number) AS window_number
FROM drawn LEFT JOIN (FROM orders.replacements WHERE plan = which_plan AND profile = which_profile) AS put
  USING (sample_index)
ORDER BY sample_index;

CREATE MACRO order_of_step(which_plan, step, which_profile := 'sample') AS TABLE
SELECT sample_index, source, pass, shard, window_number
FROM order_at(
  which_plan,
  step * (SELECT batch_windows FROM orders.stages WHERE plan = which_plan AND profile = which_profile),
  (SELECT batch_windows FROM orders.stages WHERE plan = which_plan AND profile = which_profile),
  which_profile := which_profile);

CREATE MACRO order_index_planned(which_plan, which_source, which_pass, which_shard, window_number, which_profile := 'sample')
AS (
  SELECT CASE WHEN j BETWEEN 0 AND windows - 1 THEN order_ascend(path, j) END
  FROM (
    SELECT windows, path, CASE WHEN capacity IS NULL THEN window_number ELSE which_pass * capacity + slot
      + order_unpermute(list_k, list_b, n, window_number::UBIGINT)::BIGINT END - first_window AS j
    FROM (
      SELECT *, order_reflections(list_a, list_b, n) AS list_k
      FROM (
        SELECT place.windows, path, capacity, first_window, slot, n,
          order_keys_a(order_derive_a(order_derive_a(key_a, which_pass), which_shard)) AS list_a,
          order_keys_b(order_derive_b(order_derive_b(key_b, which_pass), which_shard)) AS list_b
        FROM orders.sources AS place LEFT JOIN (
          SELECT slot, windows::UBIGINT AS n FROM orders.shards
          WHERE plan = which_plan AND profile = which_profile AND source = which_source
            AND pass = which_pass AND shard = which_shard AND window_number BETWEEN 0 AND windows - 1) AS met ON true
        WHERE place.plan = which_plan AND place.profile = which_profile AND place.source = which_source)))
);

CREATE MACRO order_index(which_plan, which_source, which_pass, which_shard, which_window, which_profile := 'sample')
AS coalesce(
  (
    SELECT min(put.sample_index) FROM orders.replacements AS put
    WHERE put.plan = which_plan AND put.profile = which_profile AND put.source = which_source
      AND put.pass = which_pass AND put.shard = which_shard AND put.window_number = which_window),
  (
    SELECT CASE WHEN planned NOT IN (
      SELECT put.sample_index FROM orders.replacements AS put
      WHERE put.plan = which_plan AND put.profile = which_profile) THEN planned END
    FROM (
      SELECT order_index_planned(
        which_plan, which_source, which_pass, which_shard, which_window, which_profile := which_profile) AS planned))
);

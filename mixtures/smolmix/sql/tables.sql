-- What the catalog holds: small tables, one row a source, shard on disk, plan or finding. The views stand on these,
-- and on the shard lists of plans and bundles, which are read where they lie (see smolmix.catalog).
CREATE SCHEMA store;

CREATE TABLE store.registry (
  source VARCHAR, domain VARCHAR, source_group VARCHAR, hf_dataset VARCHAR, hf_config VARCHAR, revision VARCHAR,
  licence VARCHAR, language VARCHAR, published_tokens HUGEINT, published_tokenizer VARCHAR, confidence VARCHAR
);

CREATE TABLE store.documents (
  profile VARCHAR, source VARCHAR, files BIGINT, read BIGINT, kept BIGINT, dropped BIGINT,
  text_bytes BIGINT, text_characters BIGINT
);

CREATE TABLE store.document_statistics (
  profile VARCHAR, source VARCHAR, kind VARCHAR, name VARCHAR, low DOUBLE, high DOUBLE, documents BIGINT,
  text_bytes BIGINT, text_characters BIGINT
);

CREATE TABLE store.shards (
  profile VARCHAR, tokenizer VARCHAR, source VARCHAR, split VARCHAR, path VARCHAR, bytes BIGINT,
  tokens BIGINT, documents BIGINT, text_bytes BIGINT, text_characters BIGINT, xxh3_128 VARCHAR, sha256 VARCHAR,
  eos_id BIGINT, token_width BIGINT, vocab_size BIGINT
);

CREATE TABLE store.stages (
  profile VARCHAR, plan VARCHAR, stage VARCHAR, preset VARCHAR, unit VARCHAR, sequence_length BIGINT,
  batch_windows BIGINT, steps BIGINT, windows BIGINT, tokens HUGEINT, start_step BIGINT, asked VARCHAR,
  asked_tokens HUGEINT, remainder_tokens HUGEINT, budget_why VARCHAR, follows VARCHAR, follows_lock VARCHAR,
  seed BIGINT, validation_share VARCHAR, tokenizer VARCHAR, tokenizer_sha256 VARCHAR, prefix_bound VARCHAR,
  lock VARCHAR
);

CREATE TABLE store.allocation (
  profile VARCHAR, plan VARCHAR, stage VARCHAR, preset VARCHAR, source VARCHAR, domain VARCHAR,
  source_group VARCHAR, status VARCHAR, published_weight VARCHAR, weight VARCHAR, percent DOUBLE,
  windows BIGINT, tokens HUGEINT, shards BIGINT, capacity_windows BIGINT, offset_windows BIGINT,
  held_back_windows BIGINT, first_shard_offset BIGINT, passes_before VARCHAR, passes VARCHAR,
  passes_before_value DOUBLE, passes_value DOUBLE
);

CREATE TABLE store.reconciliation (
  profile VARCHAR, plan VARCHAR, stage VARCHAR, domain VARCHAR, source VARCHAR, blog VARCHAR, released VARCHAR,
  planned VARCHAR, blog_percent DOUBLE, released_percent DOUBLE, planned_percent DOUBLE,
  consumed_percent DOUBLE, windows BIGINT, tokens HUGEINT, tokenized HUGEINT, consumed BIGINT
);

CREATE TABLE store.findings (
  profile VARCHAR, plan VARCHAR, severity VARCHAR, code VARCHAR, source VARCHAR, message VARCHAR, fix VARCHAR
);

CREATE TABLE store.contamination (
  profile VARCHAR, plan VARCHAR, stage VARCHAR, benchmark VARCHAR, source VARCHAR, documents BIGINT,
  matched_tokens HUGEINT, passes DOUBLE, passes_exact VARCHAR, exposure DOUBLE, exposure_exact VARCHAR,
  tokens_read HUGEINT
);

CREATE TABLE store.examples (view_name VARCHAR, example VARCHAR);

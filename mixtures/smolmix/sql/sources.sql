-- One row a profile and source: what the registry says of it, and what was read, kept and tokenized.
-- example: SELECT source, domain, licence, kept, train_tokens FROM sources WHERE train_tokens > 0 ORDER BY train_tokens DESC
CREATE VIEW sources AS
WITH named AS (
  SELECT profile, source FROM store.documents
  UNION SELECT profile, source FROM store.shards
  UNION SELECT profile, source FROM store.allocation
), planned AS (
  SELECT profile, source, any_value(domain) AS domain, any_value(source_group) AS source_group
  FROM store.allocation GROUP BY ALL
), tokenized AS (
  SELECT profile, source,
    count(*) FILTER (split = 'train') AS train_shards,
    coalesce(sum(documents) FILTER (split = 'train'), 0) AS train_documents,
    coalesce(sum(tokens) FILTER (split = 'train'), 0) AS train_tokens,
    coalesce(sum(documents) FILTER (split = 'validation'), 0) AS validation_documents,
    coalesce(sum(tokens) FILTER (split = 'validation'), 0) AS validation_tokens
  FROM store.shards GROUP BY ALL
)
SELECT n.profile, n.source, coalesce(r.domain, p.domain) AS domain,
  coalesce(r.source_group, p.source_group) AS source_group, r.hf_dataset, r.hf_config, r.revision, r.licence,
  r.language, r.published_tokens, r.published_tokenizer, r.confidence, d.files, d.read, d.kept, d.dropped,
  d.text_bytes, d.text_characters, coalesce(t.train_shards, 0) AS train_shards,
  coalesce(t.train_documents, 0) AS train_documents, coalesce(t.train_tokens, 0) AS train_tokens,
  coalesce(t.validation_documents, 0) AS validation_documents,
  coalesce(t.validation_tokens, 0) AS validation_tokens
FROM named n
LEFT JOIN store.registry r ON r.source = n.source
LEFT JOIN planned p ON p.profile = n.profile AND p.source = n.source
LEFT JOIN store.documents d ON d.profile = n.profile AND d.source = n.source
LEFT JOIN tokenized t ON t.profile = n.profile AND t.source = n.source
ORDER BY n.profile, n.source;

COMMENT ON COLUMN sources.profile IS 'sample, full (no data) or hub';
COMMENT ON COLUMN sources.source IS 'source name';
COMMENT ON COLUMN sources.domain IS 'web, code, math or reasoning';
COMMENT ON COLUMN sources.source_group IS 'group in the recipe or the registry';
COMMENT ON COLUMN sources.hf_dataset IS 'dataset on the Hugging Face hub; null: origin not published';
COMMENT ON COLUMN sources.hf_config IS 'configuration of the dataset';
COMMENT ON COLUMN sources.revision IS 'pinned revision of the dataset; null: not pinned';
COMMENT ON COLUMN sources.licence IS 'licence of the collection as its page states it';
COMMENT ON COLUMN sources.language IS 'language of the source';
COMMENT ON COLUMN sources.published_tokens IS 'published size; null: not published';
COMMENT ON COLUMN sources.published_tokenizer IS 'tokenizer of the published size; null: not stated';
COMMENT ON COLUMN sources.confidence IS 'how sure the published size is';
COMMENT ON COLUMN sources.files IS 'document files; null: nothing read in this profile';
COMMENT ON COLUMN sources.read IS 'documents read; read = kept + dropped';
COMMENT ON COLUMN sources.kept IS 'documents kept';
COMMENT ON COLUMN sources.dropped IS 'documents dropped, all reasons';
COMMENT ON COLUMN sources.text_bytes IS 'UTF-8 bytes of the kept texts';
COMMENT ON COLUMN sources.text_characters IS 'Unicode scalars of the kept texts';
COMMENT ON COLUMN sources.train_shards IS 'training shards on disk';
COMMENT ON COLUMN sources.train_documents IS 'training documents';
COMMENT ON COLUMN sources.train_tokens IS 'training tokens on disk';
COMMENT ON COLUMN sources.validation_documents IS 'held-out documents';
COMMENT ON COLUMN sources.validation_tokens IS 'held-out tokens';

-- One row a source, kind and bin: what was read, kept and dropped (kinds funnel and drop), and the kept documents by language, licence, length and score (kinds total, language, licence, length, score).
-- example: SELECT coalesce(name, 'all') AS reason, coalesce(sum(documents), 0) AS rows FROM document_statistics WHERE kind = 'drop' GROUP BY ROLLUP (name) ORDER BY rows DESC, reason
CREATE VIEW document_statistics AS
SELECT profile, source, kind, name, low, high, documents, text_bytes, text_characters
FROM store.document_statistics
ORDER BY profile, source, kind, name, low;

COMMENT ON COLUMN document_statistics.profile IS 'sample or hub';
COMMENT ON COLUMN document_statistics.source IS 'source name';
COMMENT ON COLUMN document_statistics.kind IS 'funnel, drop, total, language, licence, length or score';
COMMENT ON COLUMN document_statistics.name IS 'read or kept; the reason of a drop; the language, licence or score';
COMMENT ON COLUMN document_statistics.low IS 'start of the bin of a length or score: low <= value < high';
COMMENT ON COLUMN document_statistics.high IS 'end of the bin';
COMMENT ON COLUMN document_statistics.documents IS 'documents; of the funnel and drops: rows of the raw files';
COMMENT ON COLUMN document_statistics.text_bytes IS 'UTF-8 bytes of their texts; 0 for the funnel and drops';
COMMENT ON COLUMN document_statistics.text_characters IS 'Unicode scalars of their texts; 0 for the funnel and drops';

-- One row a finding of a plan: what is not as published or not as hoped, and what to do about it.
-- example: SELECT severity, code, source, message, fix FROM findings ORDER BY severity, code, source
CREATE VIEW findings AS
SELECT profile, plan, severity, code, source, message, fix FROM store.findings
ORDER BY profile, plan, severity, code, source;

COMMENT ON COLUMN findings.profile IS 'sample, full (no data) or hub';
COMMENT ON COLUMN findings.plan IS 'folder of the plan';
COMMENT ON COLUMN findings.severity IS 'info, warning or error';
COMMENT ON COLUMN findings.code IS 'kind of finding';
COMMENT ON COLUMN findings.source IS 'source it concerns, or null';
COMMENT ON COLUMN findings.message IS 'what, where, and the number';
COMMENT ON COLUMN findings.fix IS 'what to do';

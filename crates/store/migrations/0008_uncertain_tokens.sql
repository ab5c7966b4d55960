-- The tokens of calls that failed and may be billed are apart from those of calls that were answered.
ALTER TABLE run_costs ADD COLUMN uncertain_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE spend ADD COLUMN uncertain_tokens INTEGER NOT NULL DEFAULT 0;

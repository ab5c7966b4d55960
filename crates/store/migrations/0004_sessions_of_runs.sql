-- Runs are listed by their ids, which sort by time, so that a page of them goes on where another process's ended.
ALTER TABLE runs ADD COLUMN session TEXT;

DROP INDEX runs_by_depth;
DROP INDEX runs_by_account;
DROP INDEX runs_by_agent;
DROP INDEX runs_open;

CREATE INDEX runs_by_depth ON runs (depth, run);
CREATE INDEX runs_by_account ON runs (account, depth, run);
CREATE INDEX runs_by_agent ON runs (agent, depth, run);
CREATE INDEX runs_by_outcome ON runs (outcome, depth, run);
CREATE INDEX runs_by_session ON runs (session, run) WHERE session IS NOT NULL;

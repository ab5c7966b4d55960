-- Calls that a person must allow before they are made, and the answers.

CREATE TABLE durable_approvals (
    -- In the order of the requests.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    approval TEXT NOT NULL UNIQUE,
    run INTEGER NOT NULL REFERENCES durable_runs (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    tool TEXT NOT NULL,
    -- Of the arguments, which are erased before the row is deleted.
    sha256 TEXT NOT NULL,
    arguments TEXT NOT NULL,
    schema TEXT NOT NULL,
    requested_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    answer TEXT,
    answered_us INTEGER
) STRICT;

CREATE UNIQUE INDEX durable_approvals_by_call ON durable_approvals (run, path, tool, sha256);
CREATE INDEX durable_approvals_open ON durable_approvals (id) WHERE answer IS NULL;

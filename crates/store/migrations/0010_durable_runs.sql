-- Runs that survive a crash: their states, the journals of their steps, and their signals.

-- Each commit of a run rewrites its row, so what is large and never changes is in another table.
CREATE TABLE durable_runs (
    -- In the order of submission.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run BLOB NOT NULL UNIQUE,
    queue TEXT NOT NULL,
    account TEXT NOT NULL,
    key TEXT,
    digest INTEGER NOT NULL,
    parent BLOB,
    submitted_us INTEGER NOT NULL,
    status TEXT NOT NULL,
    -- When it can be claimed: since when it is ready, the end of the lease, or the end of the wait.
    due_us INTEGER,
    worker TEXT NOT NULL DEFAULT '',
    epoch INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    commit_number INTEGER NOT NULL DEFAULT 0,
    signal_number INTEGER NOT NULL DEFAULT 0,
    waiting TEXT,
    -- Of a run that is not running; the cost of one that is running is in its steps.
    cost TEXT,
    error TEXT,
    output TEXT,
    ended_us INTEGER
) STRICT;

CREATE UNIQUE INDEX durable_runs_by_key ON durable_runs (account, key) WHERE key IS NOT NULL;
CREATE INDEX durable_runs_by_status ON durable_runs (status, id);
CREATE INDEX durable_runs_by_account ON durable_runs (account, id);
CREATE INDEX durable_runs_due ON durable_runs (due_us) WHERE due_us IS NOT NULL;
CREATE INDEX durable_runs_ended ON durable_runs (ended_us) WHERE ended_us IS NOT NULL;

CREATE TABLE durable_inputs (
    id INTEGER PRIMARY KEY REFERENCES durable_runs (id) ON DELETE CASCADE,
    input TEXT NOT NULL
) STRICT;

CREATE TABLE durable_steps (
    run INTEGER NOT NULL REFERENCES durable_runs (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (run, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE durable_signals (
    run INTEGER NOT NULL REFERENCES durable_runs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    key TEXT,
    is_consumed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX durable_signals_by_key ON durable_signals (run, key) WHERE key IS NOT NULL;

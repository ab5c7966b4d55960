-- What ran, what happened, and what it cost.

-- Each time a process begins to write. What an earlier one left open was cut off.
CREATE TABLE epochs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    started_us INTEGER NOT NULL
) STRICT;

CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run BLOB NOT NULL UNIQUE,
    -- 32 hexadecimal digits; people search for the first eight.
    trace TEXT NOT NULL,
    agent TEXT NOT NULL,
    -- The account it was billed to.
    account TEXT NOT NULL,
    depth INTEGER NOT NULL,
    epoch INTEGER NOT NULL REFERENCES epochs (id),
    started_us INTEGER NOT NULL,
    -- Absent while it goes on.
    outcome TEXT,
    error TEXT,
    turns INTEGER,
    input_tokens INTEGER,
    output_tokens INTEGER,
    -- With its workers; absent if nothing had a price.
    cost_nano INTEGER,
    elapsed_us INTEGER
) STRICT;

CREATE INDEX runs_by_depth ON runs (depth, id);
CREATE INDEX runs_by_account ON runs (account, depth, id);
CREATE INDEX runs_by_agent ON runs (agent, depth, id);
CREATE INDEX runs_by_trace ON runs (trace);
CREATE INDEX runs_open ON runs (epoch) WHERE outcome IS NULL;

CREATE TABLE events (
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    entry TEXT NOT NULL,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

-- What each model cost in a run, without the run's workers.
CREATE TABLE run_costs (
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    model TEXT NOT NULL,
    calls INTEGER NOT NULL,
    unpriced_calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER,
    cache_write_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    reasoning_tokens INTEGER,
    web_searches INTEGER,
    stated_cost_nano INTEGER,
    charged_nano INTEGER NOT NULL,
    estimated_nano INTEGER NOT NULL,
    uncertain_nano INTEGER NOT NULL,
    PRIMARY KEY (run, model)
) STRICT, WITHOUT ROWID;

-- What was settled, by day (UTC, days since 1970-01-01). Budgets are restored from it, so it outlives the runs.
CREATE TABLE spend (
    day INTEGER NOT NULL,
    account TEXT NOT NULL,
    agent TEXT NOT NULL,
    model TEXT NOT NULL,
    calls INTEGER NOT NULL,
    unpriced_calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER,
    cache_write_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    reasoning_tokens INTEGER,
    web_searches INTEGER,
    stated_cost_nano INTEGER,
    charged_nano INTEGER NOT NULL,
    estimated_nano INTEGER NOT NULL,
    uncertain_nano INTEGER NOT NULL,
    PRIMARY KEY (day, account, agent, model)
) STRICT, WITHOUT ROWID;

-- What runs hold reserved for calls under way. A row that outlives its process was a call cut off, which may be billed.
CREATE TABLE reservations (
    run BLOB PRIMARY KEY,
    epoch INTEGER NOT NULL REFERENCES epochs (id),
    day INTEGER NOT NULL,
    account TEXT NOT NULL,
    agent TEXT NOT NULL,
    model TEXT NOT NULL,
    calls INTEGER NOT NULL,
    reserved_nano INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

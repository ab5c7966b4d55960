-- Runs that survive a crash: their states, the journals of their steps, their signals, and approvals of their calls.
-- Times are microseconds since 1970, by the clock of the database.

-- Stable, so that an index finds the rows that are due.
CREATE FUNCTION brigade.now_us() RETURNS bigint LANGUAGE sql STABLE
    AS $$ SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint $$;

-- Each commit of a run rewrites its row, so what is large and never changes is in another table.
CREATE TABLE brigade.durable_runs (
    -- In the order of submission.
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run uuid NOT NULL UNIQUE,
    queue text NOT NULL,
    account text NOT NULL,
    key text,
    digest bigint NOT NULL,
    parent uuid,
    submitted_us bigint NOT NULL,
    status text NOT NULL,
    -- When it can be claimed: since when it is ready, the end of the lease, or the end of the wait.
    due_us bigint,
    worker text NOT NULL DEFAULT '',
    epoch bigint NOT NULL DEFAULT 0,
    attempt bigint NOT NULL DEFAULT 0,
    commit_number bigint NOT NULL DEFAULT 0,
    signal_number bigint NOT NULL DEFAULT 0,
    waiting text,
    -- Of a run that is not running; the cost of one that is running is in its steps.
    cost text,
    error text,
    output text,
    ended_us bigint
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX durable_runs_by_key ON brigade.durable_runs (account, key) WHERE key IS NOT NULL;
CREATE INDEX durable_runs_by_status ON brigade.durable_runs (status, id);
CREATE INDEX durable_runs_by_account ON brigade.durable_runs (account, id);
CREATE INDEX durable_runs_due ON brigade.durable_runs (due_us) WHERE due_us IS NOT NULL;
CREATE INDEX durable_runs_ended ON brigade.durable_runs (ended_us) WHERE ended_us IS NOT NULL;

-- JSON is text, because the type jsonb refuses a character that JSON allows, and does not keep the order of fields.
CREATE TABLE brigade.durable_inputs (
    id bigint PRIMARY KEY REFERENCES brigade.durable_runs (id) ON DELETE CASCADE,
    input text NOT NULL
);

CREATE TABLE brigade.durable_steps (
    run bigint NOT NULL REFERENCES brigade.durable_runs (id) ON DELETE CASCADE,
    path text COLLATE "C" NOT NULL,
    record text NOT NULL,
    PRIMARY KEY (run, path)
);

CREATE TABLE brigade.durable_signals (
    run bigint NOT NULL REFERENCES brigade.durable_runs (id) ON DELETE CASCADE,
    number bigint NOT NULL,
    kind text NOT NULL,
    payload text NOT NULL,
    key text,
    is_consumed boolean NOT NULL DEFAULT false,
    PRIMARY KEY (run, number)
);

CREATE UNIQUE INDEX durable_signals_by_key ON brigade.durable_signals (run, key) WHERE key IS NOT NULL;

CREATE TABLE brigade.durable_approvals (
    -- In the order of the requests.
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    approval text NOT NULL UNIQUE,
    run bigint NOT NULL REFERENCES brigade.durable_runs (id) ON DELETE CASCADE,
    path text COLLATE "C" NOT NULL,
    tool text NOT NULL,
    -- Of the arguments, which are erased before the row is deleted.
    sha256 text NOT NULL,
    arguments text NOT NULL,
    schema text NOT NULL,
    requested_us bigint NOT NULL,
    expires_us bigint NOT NULL,
    answer text,
    -- What the answer says, once there is one.
    is_approved boolean,
    answered_us bigint
);

CREATE UNIQUE INDEX durable_approvals_by_call ON brigade.durable_approvals (run, path, tool, sha256);
CREATE INDEX durable_approvals_open ON brigade.durable_approvals (id) WHERE answer IS NULL;

-- Conversations. A session grows by whole exchanges; nothing in it is ever changed.
CREATE TABLE brigade.sessions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    -- How many exchanges it has had: what a writer must have seen to add the next.
    version bigint NOT NULL DEFAULT 0,
    messages bigint NOT NULL DEFAULT 0,
    size_bytes bigint NOT NULL DEFAULT 0,
    created_us bigint NOT NULL,
    updated_us bigint NOT NULL
);

CREATE INDEX sessions_by_use ON brigade.sessions (updated_us, name);

-- What one request added.
CREATE TABLE brigade.exchanges (
    session bigint NOT NULL REFERENCES brigade.sessions (id) ON DELETE CASCADE,
    number bigint NOT NULL,
    -- The caller's name for the request. The same request is kept once, however often it is sent.
    key text,
    first_message bigint NOT NULL,
    size_bytes bigint NOT NULL,
    -- Whether it begins with the user, so that a conversation can be shown from here on.
    is_start boolean NOT NULL,
    at_us bigint NOT NULL,
    PRIMARY KEY (session, number)
);

CREATE UNIQUE INDEX exchanges_by_key ON brigade.exchanges (session, key) WHERE key IS NOT NULL;

CREATE TABLE brigade.messages (
    session bigint NOT NULL REFERENCES brigade.sessions (id) ON DELETE CASCADE,
    number bigint NOT NULL,
    role text NOT NULL,
    -- A JSON array of parts; a large part is {"blob": its hash}.
    parts text NOT NULL,
    PRIMARY KEY (session, number)
);

-- Large parts, each once in a session, by the SHA-256 of its JSON. Sessions do not share them, so that a session can be
-- deleted while another one is written.
CREATE TABLE brigade.message_blobs (
    session bigint NOT NULL REFERENCES brigade.sessions (id) ON DELETE CASCADE,
    hash bytea NOT NULL,
    content text NOT NULL,
    PRIMARY KEY (session, hash)
);

-- Long-term notes.
CREATE TABLE brigade.notes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The scope as JSON, so that absent and empty names stay apart.
    scope text COLLATE "C" NOT NULL,
    name text NOT NULL,
    text text NOT NULL,
    source text NOT NULL,
    run uuid,
    -- SHA-256 of the source and the words, however they are spaced and capitalised.
    digest bytea NOT NULL,
    at_us bigint NOT NULL,
    -- The words of the text in lower case.
    words tsvector NOT NULL,
    -- The direction of the text's embedding, and the model that made it.
    model text,
    direction bytea,
    UNIQUE (scope, name),
    UNIQUE (scope, digest)
);

CREATE INDEX notes_by_scope ON brigade.notes (scope, id);
CREATE INDEX notes_by_age ON brigade.notes (at_us);
CREATE INDEX notes_by_words ON brigade.notes USING gin (words);

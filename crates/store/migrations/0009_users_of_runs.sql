-- The end user that a request named, so that runs of a user are found after a restart.
ALTER TABLE runs ADD COLUMN user TEXT;

CREATE INDEX runs_by_user ON runs (user, run) WHERE user IS NOT NULL;

-- Tells this database apart from others, in case that one is copied over it.
CREATE TABLE identity (id BLOB NOT NULL) STRICT;
INSERT INTO identity VALUES (randomblob(16));

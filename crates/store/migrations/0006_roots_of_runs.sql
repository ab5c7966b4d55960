-- The run that a client started, for each run of its workers. Two requests may have the same trace id, even from different
-- accounts.
ALTER TABLE runs ADD COLUMN root BLOB;

CREATE INDEX runs_by_root ON runs (root) WHERE root IS NOT NULL;

-- Older runs of workers belong to the only request of their account and trace, if there is only one.
UPDATE runs SET root = (SELECT min(top.run) FROM runs AS top
                        WHERE top.trace = runs.trace AND top.account = runs.account AND top.depth = 0
                        HAVING count(*) = 1)
WHERE depth > 0;
